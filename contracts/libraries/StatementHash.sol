// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Line} from "../types/Structs.sol";
import {UsageLanes} from "../types/Units.sol";

/// @title StatementHash
/// @notice EIP-712 type and struct hashes of the statement that the meter signs (protocol section 8).
library StatementHash {
    bytes internal constant LINE_TYPE = "Line(address payer,uint256[2] usage,bytes32 head)";
    bytes internal constant STATEMENT_TYPE = "Statement(bytes32 tariffId,uint64 sealedAt,Line[] lines)";

    bytes32 internal constant LINE_TYPEHASH = keccak256(LINE_TYPE);
    bytes32 internal constant STATEMENT_TYPEHASH = keccak256(bytes.concat(STATEMENT_TYPE, LINE_TYPE));

    /// @return The struct hash, to be put under a domain.
    function hash(bytes32 tariffId, uint64 sealedAt, Line[] calldata lines) internal pure returns (bytes32) {
        return keccak256(abi.encode(STATEMENT_TYPEHASH, tariffId, sealedAt, hashLines(lines)));
    }

    function hashLines(Line[] calldata lines) internal pure returns (bytes32) {
        bytes32[] memory hashes = new bytes32[](lines.length);
        for (uint256 i = 0; i < lines.length; ++i) {
            hashes[i] = hashLine(lines[i].payer, lines[i].usage[0], lines[i].usage[1], lines[i].head);
        }
        return keccak256(abi.encodePacked(hashes));
    }

    function hashLine(address payer, UsageLanes usage0, UsageLanes usage1, bytes32 head)
        internal
        pure
        returns (bytes32)
    {
        return keccak256(abi.encode(LINE_TYPEHASH, payer, keccak256(abi.encode(usage0, usage1)), head));
    }
}
