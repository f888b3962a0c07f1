// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Split} from "../types/Structs.sol";

/// @title Shares
/// @notice What a share of a split is worth (protocol section 5).
library Shares {
    /// @notice `pot * share / split.totalShares`, rounded down. Cumulative, so that rounding never accumulates.
    /// @dev Pot and share are within uint128 each, so their product does not wrap. The split was hashed before: that
    /// refused a total beyond 128 bits. Of a total of 0 everything is worth 0.
    function entitledDown(uint256 pot, uint256 share, Split calldata split)
        internal
        pure
        returns (uint256 worth)
    {
        assembly ("memory-safe") {
            worth := div(mul(pot, share), calldataload(add(split, 0x40)))
        }
    }
}
