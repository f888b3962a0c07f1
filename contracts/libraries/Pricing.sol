// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Assets, RateLanes, UsageLanes} from "../types/Units.sol";

/// @title Pricing
/// @notice The one way from usage to assets (protocol sections 1 and 6).
library Pricing {
    /// @notice The value of a cumulative usage, rounded down; a negative total is worth nothing.
    /// @param rates Base units per `unit` of each meter.
    /// @param unit 10^scale of the tariff, not zero.
    function priceDown(RateLanes[2] calldata rates, uint256 unit, UsageLanes[2] calldata usage)
        internal
        pure
        returns (Assets worth)
    {
        // Σ rate · usage, the rates unsigned, the usage signed. Each product is within 2^127 and there are eight, so
        // neither they nor their sum can leave int256.
        assembly ("memory-safe") {
            let lane := 0xffffffffffffffff
            let r := calldataload(rates)
            let u := calldataload(usage)
            let total := mul(shr(192, r), sar(192, u))
            total := add(total, mul(and(lane, shr(128, r)), signextend(7, shr(128, u))))
            total := add(total, mul(and(lane, shr(64, r)), signextend(7, shr(64, u))))
            total := add(total, mul(and(lane, r), signextend(7, u)))
            u := calldataload(add(usage, 0x20))
            // Most tariffs have no more than four meters.
            if u {
                r := calldataload(add(rates, 0x20))
                total := add(total, mul(shr(192, r), sar(192, u)))
                total := add(total, mul(and(lane, shr(128, r)), signextend(7, shr(128, u))))
                total := add(total, mul(and(lane, shr(64, r)), signextend(7, shr(64, u))))
                total := add(total, mul(and(lane, r), signextend(7, u)))
            }
            worth := mul(sgt(total, 0), div(total, unit))
        }
    }
}
