// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Split} from "../../contracts/types/Structs.sol";
import {Harness} from "../contracts/support/Harness.sol";
import {vm} from "../contracts/support/Vm.sol";

/// That the contract computes what EntitlementProof proves things of. See scripts/prove.
contract SharesProof {
    Harness private harness = new Harness();

    /// The assembly is the plain quotient. The product of two numbers below 2^128 is below 2^256.
    function check_Entitled_IsTheQuotient(
        uint128 pot,
        uint128 share,
        uint128 total,
        address asset,
        bytes32 root
    ) external view {
        vm.assume(total != 0);
        unchecked {
            uint256 plain = uint256(pot) * share / total;
            assert(harness.entitledDown(pot, share, Split(asset, root, total)) == plain);
        }
    }
}
