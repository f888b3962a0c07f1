// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {
    ClaimAuthorization,
    Line,
    Party,
    ShareProof,
    Split,
    Tariff
} from "../../../contracts/types/Structs.sol";
import {RateLanes, UsageLanes} from "../../../contracts/types/Units.sol";

/// The protocol's rules written the plain and slow way, straight from its text: what the contract is held against.
/// Shares no code with the libraries under test.
library Plain {
    error LaneTooLarge(uint256 value);

    function usage(int64[8] memory lanes) internal pure returns (UsageLanes[2] memory words) {
        for (uint256 w = 0; w < 2; ++w) {
            bytes memory packed;
            for (uint256 i = 0; i < 4; ++i) {
                packed = abi.encodePacked(packed, lanes[4 * w + i]);
            }
            words[w] = UsageLanes.wrap(abi.decode(packed, (uint256)));
        }
    }

    function rates(uint256[8] memory lanes) internal pure returns (RateLanes[2] memory words) {
        for (uint256 w = 0; w < 2; ++w) {
            bytes memory packed;
            for (uint256 i = 0; i < 4; ++i) {
                uint256 lane = lanes[4 * w + i];
                require(lane <= type(uint64).max, LaneTooLarge(lane));
                packed = abi.encodePacked(packed, uint64(lane));
            }
            words[w] = RateLanes.wrap(abi.decode(packed, (uint256)));
        }
    }

    /// Checked arithmetic on whole integers, lane by lane.
    function priceDown(uint256[8] memory rateLanes, uint8 scale, int64[8] memory usageLanes)
        internal
        pure
        returns (uint256)
    {
        int256 total = 0;
        for (uint256 i = 0; i < 8; ++i) {
            total += int256(rateLanes[i]) * int256(usageLanes[i]);
        }
        return total > 0 ? uint256(total) / (10 ** scale) : 0;
    }

    function tariffId(Tariff memory tariff) internal pure returns (bytes32) {
        return keccak256(abi.encode(tariff));
    }

    function splitId(Split memory split) internal pure returns (bytes32) {
        return keccak256(abi.encode(split));
    }

    function domainSeparator(uint256 chain, address verifyingContract) internal pure returns (bytes32) {
        return keccak256(
            abi.encode(
                keccak256(
                    "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
                ),
                keccak256("Meterbridge"),
                keccak256("1"),
                chain,
                verifyingContract
            )
        );
    }

    function lineHash(Line memory line) internal pure returns (bytes32) {
        return keccak256(
            abi.encode(
                keccak256("Line(address payer,uint256[2] usage,bytes32 head)"),
                line.payer,
                keccak256(abi.encode(line.usage)),
                line.head
            )
        );
    }

    function linesHash(Line[] memory lines) internal pure returns (bytes32) {
        bytes32[] memory hashes = new bytes32[](lines.length);
        for (uint256 i = 0; i < lines.length; ++i) {
            hashes[i] = lineHash(lines[i]);
        }
        return keccak256(abi.encodePacked(hashes));
    }

    function statementHash(bytes32 tariff, uint64 sealedAt, Line[] memory lines)
        internal
        pure
        returns (bytes32)
    {
        bytes32 typehash = keccak256(
            "Statement(bytes32 tariffId,uint64 sealedAt,Line[] lines)Line(address payer,uint256[2] usage,bytes32 head)"
        );
        return keccak256(abi.encode(typehash, tariff, sealedAt, linesHash(lines)));
    }

    function claimHash(ClaimAuthorization memory a) internal pure returns (bytes32) {
        bytes32 typehash = keccak256(
            "ClaimAuthorization(bytes32 splitId,uint256 offset,address account,address recipient,uint256 nonce,uint256 deadline)"
        );
        return
            keccak256(abi.encode(typehash, a.splitId, a.offset, a.account, a.recipient, a.nonce, a.deadline));
    }

    function digest(bytes32 domain, bytes32 structHash) internal pure returns (bytes32) {
        return keccak256(abi.encodePacked(hex"1901", domain, structHash));
    }

    function leaf(Party memory party) internal pure returns (bytes32) {
        return keccak256(
            bytes.concat(hex"00", bytes20(party.account), bytes1(party.role), bytes32(uint256(party.share)))
        );
    }

    function node(bytes32 left, uint256 leftSum, bytes32 right, uint256 rightSum)
        internal
        pure
        returns (bytes32)
    {
        return keccak256(bytes.concat(hex"01", left, bytes32(leftSum), right, bytes32(rightSum)));
    }

    /// RFC 6962, section 2.1, from the top: the left part holds the largest power of two below n.
    function tree(Party[] memory parties, uint256 from, uint256 to)
        internal
        pure
        returns (bytes32 hash, uint256 sum)
    {
        if (to - from == 1) return (leaf(parties[from]), parties[from].share);
        uint256 middle = from + largestPowerOfTwoBelow(to - from);
        (bytes32 left, uint256 leftSum) = tree(parties, from, middle);
        (bytes32 right, uint256 rightSum) = tree(parties, middle, to);
        return (node(left, leftSum, right, rightSum), leftSum + rightSum);
    }

    /// The siblings of one leaf, from the leaf up, and the sum of all shares to its left.
    function proof(Party[] memory parties, uint256 index)
        internal
        pure
        returns (ShareProof memory found, uint256 offset)
    {
        (uint256 from, uint256 to) = (0, parties.length);
        bytes32[] memory hashes = new bytes32[](256);
        uint128[] memory sums = new uint128[](256);
        bool[] memory onLeft = new bool[](256);
        uint256 depth = 0;
        while (to - from > 1) {
            uint256 middle = from + largestPowerOfTwoBelow(to - from);
            onLeft[depth] = index >= middle;
            (bytes32 hash, uint256 sum) =
                onLeft[depth] ? tree(parties, from, middle) : tree(parties, middle, to);
            (hashes[depth], sums[depth]) = (hash, uint128(sum));
            (from, to) = onLeft[depth] ? (middle, to) : (from, middle);
            ++depth;
        }
        found.hashes = new bytes32[](depth);
        found.sums = new uint128[](depth);
        for (uint256 i = 0; i < depth; ++i) {
            // Found from the top down, given from the leaf up.
            uint256 level = depth - 1 - i;
            (found.hashes[i], found.sums[i]) = (hashes[level], sums[level]);
            if (onLeft[level]) found.path |= 1 << i;
        }
        for (uint256 i = 0; i < index; ++i) {
            offset += parties[i].share;
        }
    }

    function largestPowerOfTwoBelow(uint256 n) internal pure returns (uint256 power) {
        power = 1;
        while (power * 2 < n) power *= 2;
    }
}
