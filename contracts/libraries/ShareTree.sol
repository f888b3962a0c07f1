// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ISettlementSplitter} from "../interfaces/ISettlementSplitter.sol";
import {Party, ShareProof} from "../types/Structs.sol";

/// @title ShareTree
/// @notice The sum tree over the parties of a split (protocol section 5). A node is a hash and the sum of the
/// shares below it; a parent's hash holds both sums, so a party's offset, the sum of all shares to its left, is
/// proven together with the leaf: under one root no two leaves overlap, whoever made the tree.
library ShareTree {
    /// @notice The root of a tree in the shape of RFC 6962, and its sum.
    function root(Party[] calldata parties) internal pure returns (bytes32, uint256) {
        uint256 width = parties.length;
        require(width != 0, ISettlementSplitter.NoParties());
        bytes32[] memory hashes = new bytes32[](width);
        uint256[] memory sums = new uint256[](width);
        for (uint256 i = 0; i < width; ++i) {
            (hashes[i], sums[i]) = (leaf(parties[i]), parties[i].share);
        }
        // Joining neighbours level by level and carrying a last one up alone gives the shape of RFC 6962.
        for (; width > 1; width = (width + 1) / 2) {
            for (uint256 i = 0; i < width / 2; ++i) {
                (uint256 left, uint256 right) = (2 * i, 2 * i + 1);
                hashes[i] = node(hashes[left], sums[left], hashes[right], sums[right]);
                sums[i] = _add(sums[left], sums[right]);
            }
            if (width % 2 == 1) {
                (hashes[width / 2], sums[width / 2]) = (hashes[width - 1], sums[width - 1]);
            }
        }
        return (hashes[0], sums[0]);
    }

    /// @notice Climbs from a party's leaf.
    /// @return hash The hash at the top.
    /// @return sum The sum of shares at the top.
    /// @return offset The sum of all shares to the left of the leaf.
    function climb(Party calldata party, ShareProof calldata proof)
        internal
        pure
        returns (bytes32 hash, uint256 sum, uint256 offset)
    {
        bytes32[] calldata hashes = proof.hashes;
        uint128[] calldata sums = proof.sums;
        require(
            hashes.length == sums.length, ISettlementSplitter.ProofLengthMismatch(hashes.length, sums.length)
        );
        uint256 path = proof.path;
        hash = leaf(party);
        sum = party.share;
        for (uint256 i = 0; i < hashes.length; ++i) {
            uint256 sibling = sums[i];
            if (path & 1 == 1) {
                hash = node(hashes[i], sibling, hash, sum);
                offset += sibling;
            } else {
                hash = node(hash, sum, hashes[i], sibling);
            }
            sum = _add(sum, sibling);
            path >>= 1;
        }
    }

    /// @notice keccak256(0x00 ‖ account ‖ role ‖ share)
    function leaf(Party calldata party) internal pure returns (bytes32) {
        (address account, uint8 role, uint256 share) = (party.account, party.role, party.share);
        require(share != 0, ISettlementSplitter.ZeroShare(account));
        require(role != 0, ISettlementSplitter.ZeroRole(account));
        return keccak256(abi.encodePacked(uint8(0), account, role, share));
    }

    /// @notice keccak256(0x01 ‖ left hash ‖ left sum ‖ right hash ‖ right sum)
    function node(bytes32 leftHash, uint256 leftSum, bytes32 rightHash, uint256 rightSum)
        internal
        pure
        returns (bytes32 hash)
    {
        // Beyond the free memory pointer and without moving it: a proof of twenty levels needs one buffer, not twenty.
        assembly ("memory-safe") {
            let start := mload(0x40)
            mstore8(start, 0x01)
            mstore(add(start, 0x01), leftHash)
            mstore(add(start, 0x21), leftSum)
            mstore(add(start, 0x41), rightHash)
            mstore(add(start, 0x61), rightSum)
            hash := keccak256(start, 0x81)
        }
    }

    /// @dev Neither wraps nor leaves uint128: both terms are within it.
    function _add(uint256 a, uint256 b) private pure returns (uint256 sum) {
        unchecked {
            sum = a + b;
        }
        require(sum <= type(uint128).max, ISettlementSplitter.ShareSumTooLarge(sum, type(uint128).max));
    }
}
