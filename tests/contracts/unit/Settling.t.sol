// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ISettlementSplitter} from "../../../contracts/interfaces/ISettlementSplitter.sol";
import {Line, Tariff} from "../../../contracts/types/Structs.sol";
import {Assets} from "../../../contracts/types/Units.sol";
import {Base} from "../support/Base.sol";
import {Plain} from "../support/Plain.sol";
import {vm} from "../support/Vm.sol";

contract SettlingTest is Base {
    function setUp() public override {
        super.setUp();
        deposit(payer, 1000);
    }

    /* DRAWING */

    function test_Settle_DrawsThePriceIntoThePot() external {
        Line[] memory lines = linesOf(payer, 300);
        bytes memory signature = signed(tariff, now64(), lines);
        vm.expectEmit(address(splitter));
        emit ISettlementSplitter.Settled(id(), payer, lines[0].usage, lines[0].head, sealedDraw(now64(), 300));
        vm.prank(other);
        vm.assertEq(Assets.unwrap(splitter.settle(signer, signature, now64(), tariff, lines)), 300);
        assertAccount(payer, 700, 300, START);
        vm.assertEq(pot(), 300);
        vm.assertEq(usd.balanceOf(address(splitter)), 1000);
    }

    function test_ReplayedStatement_DrawsNothing() external {
        Line[] memory lines = linesOf(payer, 300);
        vm.assertEq(settle(now64(), lines), 300);
        vm.assertEq(settle(now64(), lines), 0);
        vm.warp(START + 1 days);
        vm.assertEq(settle(uint64(START), lines), 0);
        assertAccount(payer, 700, 300, START);
        vm.assertEq(pot(), 300);
    }

    function test_LaterStatement_DrawsTheDifference() external {
        settle(now64(), linesOf(payer, 300));
        vm.warp(START + 1);
        vm.assertEq(settle(now64(), linesOf(payer, 450)), 150);
        assertAccount(payer, 550, 450, START + 1);
        vm.assertEq(pot(), 450);
    }

    function test_SkippedStatement_IsCoveredByTheNext() external {
        vm.warp(START + 10);
        vm.assertEq(settle(now64(), linesOf(payer, 450)), 450);
        Line[] memory older = linesOf(payer, 300);
        bytes memory signature = signed(tariff, uint64(START), older);
        vm.expectEmit(address(splitter));
        emit ISettlementSplitter.Skipped(id(), payer, uint64(START), uint32(START + 10));
        vm.assertEq(Assets.unwrap(splitter.settle(signer, signature, uint64(START), tariff, older)), 0);
        assertAccount(payer, 550, 450, START + 10);
    }

    function test_PayerThatRunsDry_HoldsUpNobodyAndPaysTheRestLater() external {
        deposit(other, 50);
        Line[] memory lines = new Line[](3);
        lines[0] = lineOf(payer, 300);
        lines[1] = lineOf(other, 80);
        lines[2] = lineOf(address(0xD07), 5);
        vm.assertEq(settle(now64(), lines), 350);
        assertAccount(payer, 700, 300, START);
        assertAccount(other, 0, 50, START);
        assertAccount(address(0xD07), 0, 0, START);

        deposit(other, 100);
        vm.assertEq(settle(now64(), lines), 30);
        assertAccount(payer, 700, 300, START);
        assertAccount(other, 70, 80, START);
        vm.assertEq(pot(), 380);
    }

    function test_SeveralPayers_EachByItsOwnLine() external {
        uint256 count = 20;
        Line[] memory lines = new Line[](count);
        for (uint256 i = 0; i < count; ++i) {
            address who = address(uint160(0xC000 + i));
            deposit(who, 100 * i + 1);
            lines[i] = lineOf(who, int64(int256(50 * i)));
        }
        vm.assertEq(settle(now64(), lines), 50 * 190);
        for (uint256 i = 0; i < count; ++i) {
            assertAccount(lines[i].payer, 50 * i + 1, 50 * i, START);
        }
    }

    function test_SamePayerTwiceInAStatement_PaysTheHigherTotalOnce() external {
        Line[] memory lines = new Line[](2);
        (lines[0], lines[1]) = (lineOf(payer, 300), lineOf(payer, 450));
        vm.assertEq(settle(now64(), lines), 450);
        (lines[0], lines[1]) = (lineOf(payer, 450), lineOf(payer, 300));
        vm.assertEq(settle(now64(), lines), 0);
        assertAccount(payer, 550, 450, START);
    }

    function test_NoLines_ChangeNothing() external {
        vm.assertEq(settle(now64(), new Line[](0)), 0);
        vm.assertEq(pot(), 0);
    }

    /* CORRECTIONS */

    function test_CumulativeUsageThatGoesDown_DrawsNothingUntilItIsPassedAgain() external {
        settle(now64(), linesOf(payer, 300));
        vm.warp(START + 1);
        vm.assertEq(settle(now64(), linesOf(payer, 200)), 0);
        assertAccount(payer, 700, 300, START + 1);
        vm.warp(START + 2);
        vm.assertEq(settle(now64(), linesOf(payer, 299)), 0);
        vm.warp(START + 3);
        vm.assertEq(settle(now64(), linesOf(payer, 310)), 10);
        assertAccount(payer, 690, 310, START + 3);
    }

    function test_OlderHigherStatementAfterItsCorrection_IsShutOut() external {
        Line[] memory wrong = linesOf(payer, 900);
        vm.warp(START + 1);
        vm.assertEq(settle(now64(), linesOf(payer, 100)), 100);
        vm.assertEq(settle(uint64(START), wrong), 0);
        assertAccount(payer, 900, 100, START + 1);
    }

    function test_CorrectionToNothing_StillStoresItsTime() external {
        settle(now64(), linesOf(payer, 100));
        vm.warp(START + 1);
        settle(now64(), linesOf(payer, 0));
        assertAccount(payer, 900, 100, START + 1);
    }

    /* PRICES AT THEIR EDGES */

    function test_NegativeTotal_DrawsNothing() external {
        vm.assertEq(settle(now64(), linesOf(payer, type(int64).min)), 0);
        assertAccount(payer, 1000, 0, START);
    }

    function test_NegativeLane_NetsAgainstTheOthers() external {
        Line[] memory lines = linesOf(payer, 0);
        lines[0].usage = Plain.usage([int64(100), -30, 7, -7, 1_000_000, 0, 0, 400_000]);
        // 100 - 60 + 3 + 2
        vm.assertEq(settle(now64(), lines), 45);
    }

    function test_PriceAbove128Bits_DrawsTheBalanceAndNoMore() external {
        Tariff memory dear = tariff;
        uint256 most = type(uint64).max;
        dear.rates = Plain.rates([most, most, most, most, most, most, most, most]);
        dear.scale = 0;
        depositUnder(dear, split, payer, 777);
        Line[] memory lines = linesOf(payer, 0);
        int64 edge = type(int64).max;
        lines[0].usage = Plain.usage([edge, edge, edge, edge, edge, edge, edge, edge]);
        uint256 price = Assets.unwrap(splitter.price(dear, lines[0].usage));
        vm.assertEq(price, 8 * uint256(uint64(edge)) * most);
        vm.assertLt(type(uint128).max, price, "beyond 128 bits");
        vm.assertEq(settleUnder(dear, now64(), lines), 777);
        vm.assertEq(settleUnder(dear, now64(), lines), 0);
    }

    /// Each lane on its own at one end, all others at the other; and all at the lowest.
    function test_LanesAtTheirExtremes_AreWorthTheirSumOrNothing() external {
        Tariff memory dear = tariff;
        uint256 most = type(uint64).max;
        dear.rates = Plain.rates([most, most, most, most, most, most, most, most]);
        (int256 high, int256 low) = (type(int64).max, type(int64).min);
        for (uint256 lane = 0; lane <= 8; ++lane) {
            int64[8] memory usage;
            int64[8] memory mirrored;
            for (uint256 i = 0; i < 8; ++i) {
                (usage[i], mirrored[i]) =
                    i == lane ? (type(int64).min, type(int64).max) : (type(int64).max, type(int64).min);
            }
            int256 sum = lane < 8 ? 7 * high + low : 8 * high;
            uint256 price = Assets.unwrap(splitter.price(dear, Plain.usage(usage)));
            vm.assertEq(price, uint256(sum) * most / 1e6);
            vm.assertEq(Assets.unwrap(splitter.price(dear, Plain.usage(mirrored))), 0);
        }
        depositUnder(dear, split, payer, 777);
        Line[] memory lines = linesOf(payer, 0);
        lines[0].usage = Plain.usage([type(int64).min, 0, 0, 0, 0, 0, 0, type(int64).min]);
        vm.assertEq(settleUnder(dear, now64(), lines), 0);
    }

    function test_TheSmallestPrice_IsDrawn() external {
        Tariff memory plain = tariff;
        plain.scale = 0;
        plain.rates = Plain.rates([uint256(1), 0, 0, 0, 0, 0, 0, 0]);
        depositUnder(plain, split, payer, 100);
        vm.assertEq(settleUnder(plain, now64(), linesOf(payer, 1)), 1);
    }

    function test_PriceIsRoundedDown() external {
        Tariff memory fine = tariff;
        fine.scale = 7;
        depositUnder(fine, split, payer, 100);
        vm.assertEq(settleUnder(fine, now64(), linesOf(payer, 19)), 1);
        vm.assertEq(pot(), 1);
        vm.warp(START + 1);
        // Cumulative: nothing is lost between statements.
        vm.assertEq(settleUnder(fine, now64(), linesOf(payer, 20)), 1);
    }

    function test_Scale37And78And255_AreRefused() external {
        uint8[3] memory scales = [37, 78, 255];
        Line[] memory lines = linesOf(payer, 1);
        for (uint256 i = 0; i < 3; ++i) {
            Tariff memory wrong = tariff;
            wrong.scale = scales[i];
            bytes memory signature = signed(wrong, now64(), lines);
            bytes memory refusal =
                abi.encodeWithSelector(ISettlementSplitter.ScaleTooLarge.selector, scales[i], 36);
            vm.expectRevert(refusal);
            splitter.settle(signer, signature, now64(), wrong, lines);
            vm.expectRevert(refusal);
            splitter.price(wrong, lines[0].usage);
        }
        tariff.scale = 36;
        vm.assertEq(settle(now64(), lines), 0);
    }

    function test_ThawPeriodAbove90Days_IsRefused() external {
        Tariff memory wrong = tariff;
        wrong.thawPeriod = 90 days + 1;
        Line[] memory lines = linesOf(payer, 1);
        bytes memory signature = signed(wrong, now64(), lines);
        vm.expectRevert(
            abi.encodeWithSelector(ISettlementSplitter.ThawPeriodTooLong.selector, 90 days + 1, 90 days)
        );
        splitter.settle(signer, signature, now64(), wrong, lines);
    }

    /* TIMES */

    function test_StatementSealedInTheFuture_IsRefused() external {
        Line[] memory lines = linesOf(payer, 1);
        uint64 future = now64() + 1;
        bytes memory signature = signed(tariff, future, lines);
        vm.expectRevert(
            abi.encodeWithSelector(ISettlementSplitter.SealedInFuture.selector, future, block.timestamp)
        );
        splitter.settle(signer, signature, future, tariff, lines);
        vm.warp(future);
        vm.assertEq(Assets.unwrap(splitter.settle(signer, signature, future, tariff, lines)), 1);
    }

    function test_StatementSealedAtZero_IsRefused() external {
        Line[] memory lines = linesOf(payer, 1);
        bytes memory signature = signedBy(99, 0, lines);
        vm.expectRevert(
            abi.encodeWithSelector(ISettlementSplitter.SealedAtOutOfRange.selector, 0, type(uint32).max)
        );
        splitter.settle(vm.addr(99), signature, 0, tariff, lines);
    }

    function test_StatementSealedBeyondUint32_IsRefusedAndNotTruncated() external {
        uint64 beyond = uint64(type(uint32).max) + 1;
        vm.warp(beyond + 10);
        Line[] memory lines = linesOf(payer, 1);
        for (uint64 i = 0; i < 2; ++i) {
            bytes memory signature = signed(tariff, beyond + i, lines);
            vm.expectRevert(
                abi.encodeWithSelector(
                    ISettlementSplitter.SealedAtOutOfRange.selector, beyond + i, type(uint32).max
                )
            );
            splitter.settle(signer, signature, beyond + i, tariff, lines);
        }
        vm.assertEq(settle(type(uint32).max, lines), 1);
        assertAccount(payer, 999, 1, type(uint32).max);
    }

    /* SIZES */

    function test_AThousandLines_AndNotOneMore() external {
        Line[] memory lines = new Line[](1001);
        for (uint256 i = 0; i < lines.length; ++i) {
            lines[i] = lineOf(address(uint160(0xC000 + i)), 1);
        }
        bytes memory signature = signed(tariff, now64(), lines);
        vm.expectRevert(abi.encodeWithSelector(ISettlementSplitter.TooManyLines.selector, 1001, 1000));
        splitter.settle(signer, signature, now64(), tariff, lines);

        assembly {
            mstore(lines, 1000)
        }
        deposit(lines[999].payer, 5);
        vm.assertEq(settle(now64(), lines), 1);
        assertAccount(lines[0].payer, 0, 0, START);
        vm.assertEq(uint256(splitter.account(id(), lines[0].payer).sealedAt), START);
    }

    function test_PotThatWouldLeaveUint128_IsRefused() external {
        fund(type(uint128).max - 10);
        Line[] memory lines = linesOf(payer, 11);
        bytes memory signature = signed(tariff, now64(), lines);
        vm.expectRevert(abi.encodeWithSelector(ISettlementSplitter.PotFull.selector, 11, 10));
        splitter.settle(signer, signature, now64(), tariff, lines);
        vm.assertEq(settle(now64(), linesOf(payer, 10)), 10);
        vm.assertEq(pot(), type(uint128).max);
        // What is in the account is not held up by it.
        thaw(payer, 990);
        vm.warp(START + THAW_PERIOD);
        vm.assertEq(withdraw(payer), 990);
    }

    /* MALFORMED CALLDATA */

    function test_PayerBeyond160Bits_IsRefused() external {
        Line[] memory lines = linesOf(payer, 1);
        bytes memory signature = signed(tariff, now64(), lines);
        bytes memory data =
            abi.encodeCall(ISettlementSplitter.settle, (signer, signature, now64(), tariff, lines));
        // The payer's word has twelve bytes too many; each of their bits is set here, and refused as a compiler would.
        uint256 place = find(data, abi.encode(lines[0].payer, lines[0].usage));
        for (uint256 bit = 0; bit < 96; ++bit) {
            data[place + bit / 8] = bytes1(uint8(1 << (bit % 8)));
            (bool accepted, bytes memory reason) = address(splitter).call(data);
            vm.assertFalse(accepted);
            vm.assertEq(reason, "");
            data[place + bit / 8] = 0x00;
        }
        (bool success,) = address(splitter).call(data);
        vm.assertTrue(success);
    }

    function find(bytes memory data, bytes memory part) internal pure returns (uint256) {
        for (uint256 i = 0; i + part.length <= data.length; ++i) {
            bytes32 found;
            assembly {
                found := keccak256(add(add(data, 0x20), i), mload(part))
            }
            if (found == keccak256(part)) return i;
        }
        revert("not found");
    }
}
