// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ISettlementSplitter} from "../interfaces/ISettlementSplitter.sol";
import {Party, ShareProof} from "../types/Structs.sol";

/// @title ShareTree
/// @notice The sum tree over the parties of a split (protocol section 5). A node is a hash and the sum of the
/// shares below it; a parent's hash holds both sums, so a party's offset, the sum of all shares to its left, is
/// proven together with the leaf: under one root no two leaves overlap, whoever made the tree.
library ShareTree {
    struct Node {
        bytes32 hash;
        uint128 sum;
    }

    /// @notice The root of a tree in the shape of RFC 6962.
    function root(Party[] calldata parties) internal pure returns (bytes32, uint128) {
        uint256 width = parties.length;
        require(width != 0, ISettlementSplitter.NoParties());
        Node[] memory nodes = new Node[](width);
        for (uint256 i = 0; i < width; ++i) {
            nodes[i] = Node(leaf(parties[i]), parties[i].share);
        }
        // Joining neighbours level by level and carrying a last one up alone gives the shape of RFC 6962.
        for (; width > 1; width = (width + 1) / 2) {
            for (uint256 i = 0; i < width / 2; ++i) {
                nodes[i] = _join(nodes[2 * i], nodes[2 * i + 1]);
            }
            if (width % 2 == 1) nodes[width / 2] = nodes[width - 1];
        }
        return (nodes[0].hash, nodes[0].sum);
    }

    /// @notice Climbs from a party's leaf.
    /// @return The hash and the sum at the top, and the party's offset.
    function climb(Party calldata party, ShareProof calldata proof)
        internal
        pure
        returns (bytes32, uint128, uint256 offset)
    {
        uint256 height = proof.hashes.length;
        require(
            height == proof.sums.length, ISettlementSplitter.ProofLengthMismatch(height, proof.sums.length)
        );
        Node memory top = Node(leaf(party), party.share);
        for (uint256 i = 0; i < height; ++i) {
            Node memory sibling = Node(proof.hashes[i], proof.sums[i]);
            if ((proof.path >> i) & 1 == 1) {
                offset += sibling.sum;
                top = _join(sibling, top);
            } else {
                top = _join(top, sibling);
            }
        }
        return (top.hash, top.sum, offset);
    }

    function leaf(Party calldata party) internal pure returns (bytes32) {
        require(party.share != 0, ISettlementSplitter.ZeroShare(party.account));
        require(party.role != 0, ISettlementSplitter.ZeroRole(party.account));
        return keccak256(abi.encodePacked(uint8(0), party.account, party.role, uint256(party.share)));
    }

    function _join(Node memory left, Node memory right) private pure returns (Node memory) {
        uint256 sum = uint256(left.sum) + right.sum;
        require(sum <= type(uint128).max, ISettlementSplitter.ShareSumTooLarge(sum, type(uint128).max));
        bytes32 hash = keccak256(
            abi.encodePacked(uint8(1), left.hash, uint256(left.sum), right.hash, uint256(right.sum))
        );
        // forge-lint: disable-next-line(unsafe-typecast) bounded above
        return Node(hash, uint128(sum));
    }
}
