// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Assets, RateLanes, UsageLanes} from "../types/Units.sol";

/// @title Pricing
/// @notice The one way from usage to assets (protocol sections 1 and 6).
library Pricing {
    /// @notice The value of a cumulative usage, rounded down; a negative total is worth nothing.
    /// @param rates Base units per `unit` of each meter.
    /// @param unit 10^scale of the tariff, not zero.
    function priceDown(RateLanes[2] memory rates, uint256 unit, UsageLanes[2] calldata usage)
        internal
        pure
        returns (Assets)
    {
        // Each product is within 2^127 and there are eight, so neither they nor their sum can leave int256.
        unchecked {
            int256 total = _dot(rates[0], usage[0]) + _dot(rates[1], usage[1]);
            // forge-lint: disable-next-line(unsafe-typecast) the total is not negative here
            return Assets.wrap(total <= 0 ? 0 : uint256(total) / unit);
        }
    }

    /// @dev Σ rate · usage over four lanes.
    function _dot(RateLanes rates, UsageLanes usage) private pure returns (int256) {
        uint256 r = RateLanes.unwrap(rates);
        uint256 u = UsageLanes.unwrap(usage);
        unchecked {
            return _product(r >> 192, u >> 192) + _product(r >> 128, u >> 128) + _product(r >> 64, u >> 64)
                + _product(r, u);
        }
    }

    /// @dev The product of the lowest lanes: an unsigned rate, a signed usage.
    function _product(uint256 rate, uint256 usage) private pure returns (int256) {
        unchecked {
            // forge-lint: disable-next-line(unsafe-typecast) cutting to the lowest lane is the point
            return int256(uint256(uint64(rate))) * int256(int64(uint64(usage)));
        }
    }
}
