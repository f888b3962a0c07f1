// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Line} from "../types/Structs.sol";

/// @title Lines
/// @notice Reads a line of a statement without checking again what `StatementHash.digest` has checked.
library Lines {
    /// @dev The first line. There need not be one.
    function first(Line[] calldata lines) internal pure returns (Line calldata line) {
        assembly ("memory-safe") {
            line := lines.offset
        }
    }

    /// @dev As the only one of a statement.
    function alone(Line calldata line) internal pure returns (Line[] calldata lines) {
        assembly ("memory-safe") {
            lines.offset := line
            lines.length := 1
        }
    }

    /// @dev The line behind this one. There need not be one.
    function next(Line calldata line) internal pure returns (Line calldata following) {
        assembly ("memory-safe") {
            following := add(line, 0x80)
        }
    }

    /// @dev The line was hashed before: that refused every payer beyond 160 bits.
    function payerOf(Line calldata line) internal pure returns (address payer) {
        assembly ("memory-safe") {
            payer := calldataload(line)
        }
    }
}
