// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Assets, RateLanes, UsageLanes} from "contracts/types/Units.sol";

/// What the types allow. Each case of test_types_do_not_mix.py puts one line in place of the marked one.
contract Separate {
    Assets internal held;

    function take(Assets amount) internal {
        held = amount;
    }

    function measure(UsageLanes usage) internal pure returns (UsageLanes) {
        return usage;
    }

    function mix(Assets assets, UsageLanes usage, RateLanes rates, uint256 number) external {
        take(assets);
        measure(usage);
        (rates, number);
        /* CASE */
    }
}
