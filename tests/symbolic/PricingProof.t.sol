// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {RateLanes, UsageLanes} from "../../contracts/types/Units.sol";
import {Harness} from "../contracts/support/Harness.sol";
import {vm} from "../contracts/support/Vm.sol";

/// What Pricing computes, for every rate and usage there is. See scripts/prove.
contract PricingProof {
    Harness private harness = new Harness();

    /// The contract's lanes and assembly are the sum over eight meters in checked arithmetic, which reverts where
    /// anything leaves int256: so nothing does.
    function check_Price_IsTheCheckedSum(uint64[8] calldata rates, int64[8] calldata usage) external view {
        int256 total = 0;
        for (uint256 i = 0; i < 8; ++i) {
            total += int256(uint256(rates[i])) * int256(usage[i]);
        }
        assert(_price(rates, usage, 1) == (total > 0 ? uint256(total) : 0));
    }

    /// One meter alone: the total is within ±2^127, and eight of them are within int256 by far.
    function check_Price_OfAMeterIsWithin127Bits(uint64 rate, int64 usage) external pure {
        int256 product;
        unchecked {
            product = int256(uint256(rate)) * int256(usage);
        }
        assert(product <= int256(2 ** 127) && product >= -int256(2 ** 127));
    }

    /// More of a meter never costs less, at the scale of the base unit.
    function check_Price_IsMonotone(uint64 rate, int64 usage, int64 more) external view {
        vm.assume(more >= usage);
        uint64[8] memory rates;
        int64[8] memory less;
        int64[8] memory greater;
        (rates[3], less[3], greater[3]) = (rate, usage, more);
        assert(_priceOf(rates, greater, 1) >= _priceOf(rates, less, 1));
    }

    /// Rounding down, for the scale of most tariffs: unit · price is at most the total, and less than a unit below.
    function check_Price_RoundsDown(uint128 total) external view {
        uint64[8] memory rates;
        int64[8] memory usage;
        (rates[0], usage[0]) = (1, int64(uint64(total & 0x7fffffffffffffff)));
        uint256 exact = uint256(uint64(usage[0]));
        uint256 worth = _priceOf(rates, usage, 2 ** 20);
        assert(worth * 2 ** 20 <= exact && exact < (worth + 1) * 2 ** 20);
    }

    function _price(uint64[8] calldata rates, int64[8] calldata usage, uint256 unit)
        private
        view
        returns (uint256)
    {
        return _priceOf(rates, usage, unit);
    }

    function _priceOf(uint64[8] memory r, int64[8] memory u, uint256 unit) private view returns (uint256) {
        RateLanes[2] memory rates = [RateLanes.wrap(_rates(r, 0)), RateLanes.wrap(_rates(r, 4))];
        UsageLanes[2] memory usage = [UsageLanes.wrap(_usage(u, 0)), UsageLanes.wrap(_usage(u, 4))];
        return harness.priceDown(rates, unit, usage);
    }

    function _rates(uint64[8] memory lanes, uint256 from) private pure returns (uint256 word) {
        for (uint256 i = 0; i < 4; ++i) {
            word = (word << 64) | lanes[from + i];
        }
    }

    function _usage(int64[8] memory lanes, uint256 from) private pure returns (uint256 word) {
        for (uint256 i = 0; i < 4; ++i) {
            word = (word << 64) | uint64(lanes[from + i]);
        }
    }
}
