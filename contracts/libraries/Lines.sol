// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Line} from "../types/Structs.sol";
import {UsageLanes} from "../types/Units.sol";

/// @title Lines
/// @notice Reads the lines of a statement without checking again what `StatementHash.hashLines` has checked.
library Lines {
    /// @dev The caller keeps `i` below the number of lines, and has hashed them: that refused every bad payer.
    function read(Line[] calldata lines, uint256 i)
        internal
        pure
        returns (address payer, UsageLanes usage0, UsageLanes usage1)
    {
        assembly ("memory-safe") {
            let line := add(lines.offset, shl(7, i))
            payer := calldataload(line)
            usage0 := calldataload(add(line, 0x20))
            usage1 := calldataload(add(line, 0x40))
        }
    }
}
