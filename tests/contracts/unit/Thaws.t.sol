// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ISettlementSplitter} from "../../../contracts/interfaces/ISettlementSplitter.sol";
import {Split, Tariff, Thaw} from "../../../contracts/types/Structs.sol";
import {Assets} from "../../../contracts/types/Units.sol";
import {Base} from "../support/Base.sol";
import {Plain} from "../support/Plain.sol";
import {vm} from "../support/Vm.sol";

contract ThawsTest is Base {
    function setUp() public override {
        super.setUp();
        deposit(payer, 1000);
    }

    function test_Thaw_StartsTheClock() external {
        vm.expectEmit(address(splitter));
        emit ISettlementSplitter.Thawing(id(), payer, Assets.wrap(400), uint64(START + THAW_PERIOD));
        thaw(payer, 400);
        assertThaw(400, START + THAW_PERIOD);
    }

    function test_Thaw_OfMoreThanTheBalanceIsRefused() external {
        vm.prank(payer);
        vm.expectRevert(abi.encodeWithSelector(ISettlementSplitter.ThawExceedsBalance.selector, 1001, 1000));
        splitter.thaw(tariff, Assets.wrap(1001));
        vm.prank(payer);
        vm.expectRevert(
            abi.encodeWithSelector(ISettlementSplitter.ThawExceedsBalance.selector, type(uint256).max, 1000)
        );
        splitter.thaw(tariff, Assets.wrap(type(uint256).max));
        thaw(payer, 1000);
    }

    function test_RaisingAThaw_StartsItsClockAnew() external {
        thaw(payer, 400);
        vm.warp(START + 5 days);
        thaw(payer, 401);
        assertThaw(401, START + 5 days + THAW_PERIOD);
        vm.warp(START + THAW_PERIOD);
        vm.prank(payer);
        vm.expectRevert(
            abi.encodeWithSelector(ISettlementSplitter.StillThawing.selector, START + 5 days + THAW_PERIOD)
        );
        splitter.withdraw(tariff, split);
    }

    function test_LoweringAThaw_KeepsItsClock() external {
        thaw(payer, 400);
        vm.warp(START + 5 days);
        thaw(payer, 399);
        assertThaw(399, START + THAW_PERIOD);
        thaw(payer, 399);
        assertThaw(399, START + THAW_PERIOD);
    }

    function test_LoweringAThawToZero_EndsIt() external {
        thaw(payer, 400);
        vm.expectEmit(address(splitter));
        emit ISettlementSplitter.Thawing(id(), payer, Assets.wrap(0), 0);
        thaw(payer, 0);
        assertThaw(0, 0);
        vm.warp(START + THAW_PERIOD);
        thaw(payer, 1);
        assertThaw(1, START + 2 * THAW_PERIOD);
    }

    /// Raising counts from what is left of the thaw, not from what it once was.
    function test_RaisingAThawThatWasDrawn_StartsItsClockAnew() external {
        thaw(payer, 1000);
        settle(now64(), linesOf(payer, 900));
        deposit(payer, 500);
        // 100 were left and thawing when 500 came.
        assertThaw(100, START + THAW_PERIOD);
        vm.warp(START + 1 days);
        thaw(payer, 101);
        assertThaw(101, START + 1 days + THAW_PERIOD);
    }

    function test_KeepingWhatIsLeftOfADrawnThaw_KeepsItsClock() external {
        thaw(payer, 1000);
        settle(now64(), linesOf(payer, 900));
        vm.warp(START + 1 days);
        thaw(payer, 100);
        assertThaw(100, START + THAW_PERIOD);
    }

    function test_Withdraw_PaysThePayerOnceItHasEnded() external {
        thaw(payer, 400);
        vm.warp(START + THAW_PERIOD - 1);
        vm.prank(payer);
        vm.expectRevert(
            abi.encodeWithSelector(ISettlementSplitter.StillThawing.selector, START + THAW_PERIOD)
        );
        splitter.withdraw(tariff, split);

        vm.warp(START + THAW_PERIOD);
        vm.expectEmit(address(splitter));
        emit ISettlementSplitter.Withdrawn(id(), payer, Assets.wrap(400));
        vm.assertEq(withdraw(payer), 400);
        assertAccount(payer, 600, 0, 0);
        assertThaw(0, 0);
        vm.assertEq(usd.balanceOf(payer), 400);

        vm.prank(payer);
        vm.expectRevert(abi.encodeWithSelector(ISettlementSplitter.NothingThawing.selector, id(), payer));
        splitter.withdraw(tariff, split);
    }

    function test_Withdraw_PaysWhatIsLeft() external {
        thaw(payer, 400);
        settle(now64(), linesOf(payer, 700));
        vm.warp(START + THAW_PERIOD);
        vm.assertEq(withdraw(payer), 300);
        assertAccount(payer, 0, 700, START);
    }

    function test_Withdraw_OfAThawThatWasAllDrawnClearsItAndPaysNothing() external {
        thaw(payer, 400);
        settle(now64(), linesOf(payer, 1000));
        vm.warp(START + THAW_PERIOD);
        vm.assertEq(withdraw(payer), 0);
        assertThaw(0, 0);
        vm.assertEq(usd.balanceOf(payer), 0);
    }

    function test_Withdraw_RefusesAnotherSplit() external {
        thaw(payer, 400);
        vm.warp(START + THAW_PERIOD);
        Split memory wrong = splitOf(address(0xBAD), parties);
        vm.prank(payer);
        vm.expectRevert(
            abi.encodeWithSelector(
                ISettlementSplitter.SplitMismatch.selector, splitKey(), Plain.splitId(wrong)
            )
        );
        splitter.withdraw(tariff, wrong);
    }

    function test_Withdraw_WithoutAThawIsRefused() external {
        vm.prank(other);
        vm.expectRevert(abi.encodeWithSelector(ISettlementSplitter.NothingThawing.selector, id(), other));
        splitter.withdraw(tariff, split);
    }

    function test_Withdraw_AtOnceWhereTheTariffHasNoThawPeriod() external {
        tariff.thawPeriod = 0;
        deposit(payer, 50);
        thaw(payer, 50);
        vm.assertEq(withdraw(payer), 50);
    }

    function test_Thaws_OfOneTariffFreeNothingUnderAnother() external {
        Tariff memory second = tariff;
        second.terms = keccak256("second");
        depositUnder(second, split, payer, 70);
        thaw(payer, 1000);
        vm.warp(START + THAW_PERIOD);
        vm.prank(payer);
        vm.expectPartialRevert(ISettlementSplitter.NothingThawing.selector);
        splitter.withdraw(second, split);
        vm.assertEq(withdraw(payer), 1000);
        vm.assertEq(uint256(splitter.account(Plain.tariffId(second), payer).balance), 70);
    }

    /* GAMES */

    /// What was thawed, drawn, and then deposited again is not free: the thaw is cut before the balance grows.
    function test_ThawThatMaturedBeforeTheDeposit_FreesNothingOfIt() external {
        thaw(payer, 1000);
        settle(now64(), linesOf(payer, 900));
        vm.warp(START + THAW_PERIOD);
        usd.mint(payer, 500);
        vm.startPrank(payer);
        usd.approve(address(splitter), 500);
        vm.expectEmit(address(splitter));
        emit ISettlementSplitter.Thawing(id(), payer, Assets.wrap(100), uint64(START + THAW_PERIOD));
        splitter.deposit(tariff, split, payer, Assets.wrap(500));
        vm.stopPrank();
        vm.assertEq(withdraw(payer), 100);
        assertAccount(payer, 500, 900, START);
    }

    function test_ThawThatWasAllDrawn_FreesNothingOfALaterDeposit() external {
        thaw(payer, 1000);
        settle(now64(), linesOf(payer, 1000));
        vm.warp(START + THAW_PERIOD);
        deposit(payer, 500);
        assertThaw(0, 0);
        vm.prank(payer);
        vm.expectPartialRevert(ISettlementSplitter.NothingThawing.selector);
        splitter.withdraw(tariff, split);
    }

    /// A gift cannot be used to restart, lengthen or cut a payer's thaw.
    function test_GiftWhileThawing_LeavesTheThawAlone() external {
        thaw(payer, 400);
        vm.warp(START + 1 days);
        vm.startPrank(other);
        usd.mint(other, 5);
        usd.approve(address(splitter), 5);
        splitter.deposit(tariff, split, payer, Assets.wrap(5));
        vm.stopPrank();
        assertThaw(400, START + THAW_PERIOD);
    }

    function test_RaiseLowerSettleBetween_PaysOnlyWhatThawedTheWholePeriod() external {
        thaw(payer, 100);
        vm.warp(START + 6 days);
        thaw(payer, 900);
        thaw(payer, 500);
        settle(now64(), linesOf(payer, 800));
        vm.warp(START + THAW_PERIOD);
        vm.prank(payer);
        vm.expectRevert(
            abi.encodeWithSelector(ISettlementSplitter.StillThawing.selector, START + 6 days + THAW_PERIOD)
        );
        splitter.withdraw(tariff, split);
        vm.warp(START + 6 days + THAW_PERIOD);
        vm.assertEq(withdraw(payer), 200);
        assertAccount(payer, 0, 800, START + 6 days);
    }

    /// The race that `secured` tells providers of: a matured thaw can be withdrawn before a settlement lands.
    function test_PayerFrontRunningASettlement_TakesOnlyWhatWasNotSecured() external {
        thaw(payer, 400);
        vm.warp(START + THAW_PERIOD);
        uint256 safe = Assets.unwrap(splitter.secured(tariff, payer, block.timestamp + 1));
        vm.assertEq(safe, 600);
        withdraw(payer);
        vm.assertEq(settle(now64(), linesOf(payer, 1000)), safe);
    }

    /* SECURED */

    function test_Secured_IsTheBalanceLessWhatCanBeWithdrawnBefore() external {
        vm.assertEq(secured(START + THAW_PERIOD), 1000);
        vm.assertEq(secured(START + THAW_PERIOD + 1), 0);
        thaw(payer, 300);
        vm.warp(START + 1 days);
        vm.assertEq(secured(START + THAW_PERIOD), 1000);
        vm.assertEq(secured(START + THAW_PERIOD + 1), 700);
        settle(now64(), linesOf(payer, 800));
        vm.assertEq(secured(START + THAW_PERIOD), 200);
        vm.assertEq(secured(START + THAW_PERIOD + 1), 0);
        vm.assertEq(secured(START + THAW_PERIOD + 1 days), 0);
        vm.assertEq(secured(type(uint256).max), 0);
    }

    /// What a matured thaw frees is not secured by asking for a time before it matured.
    function test_Secured_OfThePastIsThatOfNow() external {
        thaw(payer, 300);
        vm.assertEq(secured(0), 1000);
        vm.assertEq(secured(START - 1), 1000);
        vm.warp(START + THAW_PERIOD);
        vm.assertEq(secured(0), 1000);
        vm.assertEq(secured(START + THAW_PERIOD), 1000);
        vm.assertEq(secured(START + THAW_PERIOD + 1), 700);
        vm.warp(START + THAW_PERIOD + 1);
        uint256[4] memory times = [uint256(0), START, START + THAW_PERIOD, START + THAW_PERIOD + 1];
        for (uint256 i = 0; i < 4; ++i) {
            vm.assertEq(secured(times[i]), 700);
        }
    }

    function secured(uint256 until) internal view returns (uint256) {
        return Assets.unwrap(splitter.secured(tariff, payer, until));
    }

    function assertThaw(uint256 amount, uint256 end) internal view {
        Thaw memory found = splitter.thawing(id(), payer);
        vm.assertEq(uint256(found.amount), amount, "amount");
        vm.assertEq(uint256(found.end), end, "end");
    }
}
