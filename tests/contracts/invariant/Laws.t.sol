// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ISettlementSplitter} from "../../../contracts/interfaces/ISettlementSplitter.sol";
import {TestUSD} from "../../../contracts/mocks/TestUSD.sol";
import {Account, Party, ShareProof, Split, Tariff} from "../../../contracts/types/Structs.sol";
import {Assets} from "../../../contracts/types/Units.sol";
import {Plain} from "../support/Plain.sol";
import {vm} from "../support/Vm.sol";
import {Handler} from "./Handler.sol";

/// The laws of protocol section 9. README.md in this folder says each in prose.
contract LawsTest {
    ISettlementSplitter internal splitter;
    Handler internal handler;
    bytes32 internal codehash;
    bytes[] internal rulers;

    function setUp() external {
        vm.warp(1_800_000_000);
        splitter = ISettlementSplitter(vm.deployCode("SettlementSplitter.sol"));
        handler = new Handler(splitter);
        codehash = address(splitter).codehash;
        address any = address(this);
        rulers.push("");
        rulers.push(abi.encodeWithSignature("owner()"));
        rulers.push(abi.encodeWithSignature("admin()"));
        rulers.push(abi.encodeWithSignature("initialize()"));
        rulers.push(abi.encodeWithSignature("pause()"));
        rulers.push(abi.encodeWithSignature("unpause()"));
        rulers.push(abi.encodeWithSignature("setFee(uint256)", 1));
        rulers.push(abi.encodeWithSignature("sweep(address)", any));
        rulers.push(abi.encodeWithSignature("rescueTokens(address,address,uint256)", any, any, 1));
        rulers.push(abi.encodeWithSignature("transferOwnership(address)", any));
        rulers.push(abi.encodeWithSignature("grantRole(bytes32,address)", bytes32(0), any));
        rulers.push(abi.encodeWithSignature("upgradeTo(address)", any));
        rulers.push(abi.encodeWithSignature("upgradeToAndCall(address,bytes)", any, ""));
    }

    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(handler);
    }

    /// The laws would hold trivially if nothing ever happened.
    function test_EveryActionTakesPlace() external {
        for (uint256 i = 0; i < 600; ++i) {
            uint256 a = uint256(keccak256(abi.encode(i)));
            (uint256 b, uint256 c, uint256 d) = (a >> 64, a >> 128, a >> 192);
            uint256 kind = i % 9;
            if (kind == 0) handler.deposit(a, b, c, d);
            if (kind == 1) handler.settle(a, b, c, d, i);
            if (kind == 2) handler.thaw(a, b, c);
            if (kind == 3) handler.pass(a);
            if (kind == 4) handler.withdraw(a, b);
            if (kind == 5) handler.claimFirst(a, b);
            if (kind == 6) handler.claimLater(a, b, c);
            if (kind == 7) handler.fund(a, b);
            if (kind == 8) handler.setSigner(a, b, c);
        }
        bytes32[8] memory actions =
            [bytes32("deposit"), "settle", "thaw", "withdraw", "claimFirst", "claimLater", "fund", "refused"];
        for (uint256 i = 0; i < actions.length; ++i) {
            vm.assertGe(handler.count(actions[i]), 10, string(abi.encodePacked(actions[i])));
        }
    }

    /* LAW 6 */

    /// The code stays what it was; it takes no ether; and to what owners, pausers and upgraders call there is no answer,
    /// whoever asks.
    function invariant_NobodyRules() external {
        vm.assertEq(address(splitter).codehash, codehash, "the code has changed");
        vm.assertEq(address(splitter).balance, 0, "ether");
        address[3] memory askers = [handler.providers(0), handler.payers(0), address(this)];
        for (uint256 i = 0; i < askers.length; ++i) {
            for (uint256 c = 0; c < rulers.length; ++c) {
                vm.prank(askers[i]);
                (bool success,) = address(splitter).call(rulers[c]);
                vm.assertFalse(success);
            }
        }
    }

    /* LAW 1 */

    function invariant_BalanceCoversAllClaims() external view {
        for (uint256 a = 0; a < 3; ++a) {
            address asset = handler.assets(a);
            uint256 owed = 0;
            for (uint256 t = 0; t < handler.tariffCount(); ++t) {
                if (handler.splitAt(handler.splitIndexOf(t)).asset != asset) continue;
                for (uint256 p = 0; p < handler.PAYERS(); ++p) {
                    owed += splitter.account(handler.tariffKey(t), handler.payers(p)).balance;
                }
            }
            for (uint256 s = 0; s < handler.splitCount(); ++s) {
                if (handler.splitAt(s).asset == asset) owed += pot(s) - claimedOf(s);
            }
            // To the unit: what is not owed was sent here by accident.
            vm.assertEq(TestUSD(asset).balanceOf(address(splitter)), owed + handler.donated(asset), "law 1");
        }
    }

    /* LAW 2 */

    function invariant_WhatArrivedIsInTheAccountSettledOrWithdrawn() external view {
        for (uint256 t = 0; t < handler.tariffCount(); ++t) {
            for (uint256 p = 0; p < handler.PAYERS(); ++p) {
                address payer = handler.payers(p);
                Account memory account = splitter.account(handler.tariffKey(t), payer);
                vm.assertEq(
                    handler.arrived(t, payer),
                    uint256(account.balance) + account.settled + handler.withdrawn(t, payer),
                    "law 2"
                );
            }
        }
    }

    /* LAW 3 */

    function invariant_ClaimedIsWithinThePot() external view {
        for (uint256 s = 0; s < handler.splitCount(); ++s) {
            vm.assertLe(claimedOf(s), pot(s), "law 3");
            vm.assertEq(claimedOf(s), handler.claimed(s), "law 3, by the claims' own sums");
        }
    }

    /* LAW 4 */

    function invariant_EscrowGoesToItsPotOrBackToItsPayer() external view {
        for (uint256 s = 0; s < handler.splitCount(); ++s) {
            uint256 settled = 0;
            for (uint256 t = 0; t < handler.tariffCount(); ++t) {
                if (handler.splitIndexOf(t) != s) continue;
                for (uint256 p = 0; p < handler.PAYERS(); ++p) {
                    settled += splitter.account(handler.tariffKey(t), handler.payers(p)).settled;
                }
            }
            vm.assertEq(handler.drawn(s), settled, "law 4, drawn");
            vm.assertEq(pot(s), settled + handler.funded(s), "law 4, pot");
        }
        // A payer holds of each token what was paid back to it: nothing was taken from it, nothing else given to it.
        for (uint256 a = 0; a < 3; ++a) {
            for (uint256 p = 0; p < handler.PAYERS(); ++p) {
                (address asset, address payer) = (handler.assets(a), handler.payers(p));
                uint256 kept = TestUSD(asset).balanceOf(payer);
                vm.assertEq(kept, handler.paidBack(asset, payer), "law 4, payer");
            }
        }
    }

    /* LAWS 3 AND 5 */

    /// At the end of each run: whatever happened, and after the providers have revoked all signers: each party claims, to its own account,
    /// all that its share is worth, and less than one unit for each party stays behind.
    function afterInvariant() external {
        for (uint256 i = 0; i < 2; ++i) {
            vm.startPrank(handler.providers(i));
            splitter.setSigner(vm.addr(0x51), 0);
            splitter.setSigner(vm.addr(0x52), 0);
            vm.stopPrank();
        }
        for (uint256 s = 0; s < handler.splitCount(); ++s) {
            claimAll(s);
        }
    }

    function claimAll(uint256 s) internal {
        Split memory split = handler.splitAt(s);
        Party[] memory parties = handler.partiesOf(s);
        uint256 total = 0;
        for (uint256 p = 0; p < parties.length; ++p) {
            (ShareProof memory proof, uint256 offset) = Plain.proof(parties, p);
            splitter.claimFirst(split, parties[p], proof);
            uint256 taken = splitter.stake(handler.splitKey(s), offset, parties[p].account).claimed;
            vm.assertEq(taken, pot(s) * parties[p].share / split.totalShares, "law 5");
            total += taken;
        }
        vm.assertLe(total, pot(s), "law 3, all claimed");
        vm.assertLt(pot(s) - total, parties.length, "law 3, dust");
    }

    /* AND */

    /// What is thawing can be no more than was asked for, and an ended thaw leaves no clock behind.
    function invariant_NoThawWithoutAnEndAndNoEndWithoutAThaw() external view {
        for (uint256 t = 0; t < handler.tariffCount(); ++t) {
            Tariff memory tariff = handler.tariffAt(t);
            for (uint256 p = 0; p < handler.PAYERS(); ++p) {
                (uint256 amount, uint256 end) = thawOf(t, handler.payers(p));
                vm.assertEq(amount == 0, end == 0);
                vm.assertLe(end, block.timestamp + tariff.thawPeriod, "a thaw longer than the period");
            }
        }
    }

    /* HELPERS */

    function thawOf(uint256 t, address payer) internal view returns (uint256, uint256) {
        return abi.decode(abi.encode(splitter.thawing(handler.tariffKey(t), payer)), (uint256, uint256));
    }

    function pot(uint256 s) internal view returns (uint256) {
        return Assets.unwrap(splitter.pot(handler.splitKey(s)));
    }

    function claimedOf(uint256 s) internal view returns (uint256 sum) {
        Party[] memory parties = handler.partiesOf(s);
        uint256[] memory offsets = handler.offsetsOf(s);
        for (uint256 p = 0; p < parties.length; ++p) {
            sum += splitter.stake(handler.splitKey(s), offsets[p], parties[p].account).claimed;
        }
    }
}
