// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Line} from "../types/Structs.sol";

/// @title StatementHash
/// @notice EIP-712 type and struct hashes of the statement that the meter signs (protocol section 8).
library StatementHash {
    bytes32 internal constant LINE_TYPEHASH = keccak256("Line(address payer,uint256[2] usage,bytes32 head)");

    bytes32 internal constant STATEMENT_TYPEHASH = keccak256(
        "Statement(bytes32 tariffId,uint64 sealedAt,Line[] lines)"
        "Line(address payer,uint256[2] usage,bytes32 head)"
    );

    /// @return structHash To be put under a domain:
    /// `keccak256(abi.encode(STATEMENT_TYPEHASH, tariffId, sealedAt, hashLines(lines)))`
    function hash(bytes32 tariffId, uint64 sealedAt, Line[] calldata lines)
        internal
        pure
        returns (bytes32 structHash)
    {
        bytes32 typehash = STATEMENT_TYPEHASH;
        bytes32 linesHash = hashLines(lines);
        assembly ("memory-safe") {
            let start := mload(0x40)
            mstore(start, typehash)
            mstore(add(start, 0x20), tariffId)
            mstore(add(start, 0x40), sealedAt)
            mstore(add(start, 0x60), linesHash)
            structHash := keccak256(start, 0x80)
        }
    }

    /// @return linesHash The hash of the hashes of all lines, one line being
    /// `keccak256(abi.encode(LINE_TYPEHASH, line.payer, keccak256(abi.encode(line.usage)), line.head))`
    function hashLines(Line[] calldata lines) internal pure returns (bytes32 linesHash) {
        bytes32 typehash = LINE_TYPEHASH;
        // One buffer of four words for all lines, their hashes side by side behind it: memory grows by 32 bytes a line.
        assembly ("memory-safe") {
            let buffer := mload(0x40)
            let hashes := add(buffer, 0x80)
            let next := hashes
            mstore(buffer, typehash)
            let end := add(lines.offset, shl(7, lines.length))
            for { let line := lines.offset } lt(line, end) { line := add(line, 0x80) } {
                let payer := calldataload(line)
                // As abi.encode, refuses an address beyond 160 bits.
                if shr(160, payer) { revert(0, 0) }
                // Usage and head, of which the usage makes way for the payer and the hash of the usage.
                calldatacopy(add(buffer, 0x20), add(line, 0x20), 0x60)
                mstore(add(buffer, 0x40), keccak256(add(buffer, 0x20), 0x40))
                mstore(add(buffer, 0x20), payer)
                mstore(next, keccak256(buffer, 0x80))
                next := add(next, 0x20)
            }
            linesHash := keccak256(hashes, sub(next, hashes))
        }
    }
}
