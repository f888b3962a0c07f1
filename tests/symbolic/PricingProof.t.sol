// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {RateLanes, UsageLanes} from "../../contracts/types/Units.sol";
import {Harness} from "../contracts/support/Harness.sol";
import {vm} from "../contracts/support/Vm.sol";

/// What Pricing computes, for every rate and usage there is. See scripts/prove.
contract PricingProof {
    Harness private harness = new Harness();

    /// The contract's lanes and assembly are the plain sum over eight meters, divided by any unit. That nothing in it
    /// leaves int256, how it is rounded and that it is monotone is proven of that sum in PricingBounds.
    function check_Price_IsTheCheckedSum(uint64[8] calldata rates, int64[8] calldata usage, uint256 unit)
        external
        view
    {
        vm.assume(unit != 0);
        int256 total = 0;
        for (uint256 i = 0; i < 8; ++i) {
            total += int256(uint256(rates[i])) * int256(usage[i]);
        }
        assert(_priceOf(rates, usage, unit) == (total > 0 ? uint256(total) / unit : 0));
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
