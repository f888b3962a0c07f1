// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Assets, RateLanes, UsageLanes} from "../types/Units.sol";

/// @title Pricing
/// @notice The one way from usage to assets (protocol sections 1 and 6).
library Pricing {
    /// @notice The value of a cumulative usage, rounded down; a negative total is worth nothing.
    /// @param rates0 Base units per `unit` of each of the first four meters; `rates1` of the others.
    /// @param unit 10^scale of the tariff, not zero.
    function priceDown(RateLanes rates0, RateLanes rates1, uint256 unit, UsageLanes usage0, UsageLanes usage1)
        internal
        pure
        returns (Assets worth)
    {
        // Σ rate · usage, the rates unsigned, the usage signed. Each product is within 2^127 and there are eight, so
        // neither they nor their sum can leave int256.
        assembly ("memory-safe") {
            let lane := 0xffffffffffffffff
            let total := mul(shr(192, rates0), sar(192, usage0))
            total := add(total, mul(and(lane, shr(128, rates0)), signextend(7, shr(128, usage0))))
            total := add(total, mul(and(lane, shr(64, rates0)), signextend(7, shr(64, usage0))))
            total := add(total, mul(and(lane, rates0), signextend(7, usage0)))
            // Most tariffs have no more than four meters.
            if usage1 {
                total := add(total, mul(shr(192, rates1), sar(192, usage1)))
                total := add(total, mul(and(lane, shr(128, rates1)), signextend(7, shr(128, usage1))))
                total := add(total, mul(and(lane, shr(64, rates1)), signextend(7, shr(64, usage1))))
                total := add(total, mul(and(lane, rates1), signextend(7, usage1)))
            }
            worth := mul(sgt(total, 0), div(total, unit))
        }
    }
}
