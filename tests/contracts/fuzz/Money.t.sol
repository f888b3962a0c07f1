// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ISettlementSplitter} from "../../../contracts/interfaces/ISettlementSplitter.sol";
import {Account, Line, Party, ShareProof} from "../../../contracts/types/Structs.sol";
import {Assets} from "../../../contracts/types/Units.sol";
import {Base} from "../support/Base.sol";
import {Plain} from "../support/Plain.sol";
import {Vm, vm} from "../support/Vm.sol";

/// The contract beside arithmetic on whole integers.
contract MoneyTest is Base {
    /// One settlement from any state that an account can be in.
    function testFuzz_Settle(
        uint112 deposited,
        int64 usedBefore,
        int64 usedNow,
        uint32 sealedBefore,
        uint32 sealedNow
    ) external {
        vm.assume(deposited != 0 && sealedBefore != 0 && sealedNow != 0);
        vm.warp(type(uint32).max);
        deposit(payer, deposited);
        uint256 first = min(positive(usedBefore), deposited);
        vm.assertEq(settle(sealedBefore, linesOf(payer, usedBefore)), first);

        bool skipped = sealedNow < sealedBefore;
        uint256 wanted = positive(usedNow);
        uint256 second = skipped || wanted <= first ? 0 : min(wanted - first, deposited - first);
        vm.assertEq(settle(sealedNow, linesOf(payer, usedNow)), second);
        assertAccount(payer, deposited - first - second, first + second, skipped ? sealedBefore : sealedNow);
        vm.assertEq(pot(), first + second);
    }

    /// The event that assembly writes is the one that the interface declares.
    function testFuzz_SettledEvent(uint112 deposited, int64[8] memory lanes, bytes32 head) external {
        vm.assume(deposited != 0);
        deposit(payer, deposited);
        Line[] memory lines = new Line[](1);
        lines[0] = Line(payer, Plain.usage(lanes), head);
        bytes memory signature = signed(tariff, now64(), lines);
        uint256 price = Assets.unwrap(splitter.price(tariff, lines[0].usage));
        vm.recordLogs();
        splitter.settle(signer, signature, now64(), tariff, lines);
        Vm.Log memory log = vm.getRecordedLogs()[0];
        vm.assertEq(log.topics.length, 3);
        vm.assertEq(log.topics[0], ISettlementSplitter.Settled.selector);
        vm.assertEq(log.topics[1], id());
        vm.assertEq(log.topics[2], bytes32(uint256(uint160(payer))));
        vm.assertEq(log.data, abi.encode(lines[0].usage, head, sealedDraw(now64(), min(price, deposited))));
    }

    /// Any pot grown in any steps, any shares: nobody gets more than exactly its part, or a unit less; the dust is less
    /// than a unit for each party.
    function testFuzz_Claims(uint128[5] memory shares, uint96[4] memory steps, uint256 order) external {
        delete parties;
        for (uint256 i = 0; i < 5; ++i) {
            uint128 share = shares[i] >> 3;
            parties.push(Party(address(uint160(0xA0 + i)), uint8(i + 1), share == 0 ? 1 : share));
        }
        split = splitOf(address(usd), parties);
        for (uint256 i = 0; i < 4; ++i) {
            if (steps[i] != 0) fund(steps[i]);
            claimFirst((order >> (8 * i)) % 5);
        }
        uint256 paid = 0;
        for (uint256 i = 0; i < 5; ++i) {
            claimFirst(i);
            uint256 got = usd.balanceOf(parties[i].account);
            uint256 exact = pot() * parties[i].share;
            vm.assertLe(got * split.totalShares, exact, "more than its part");
            vm.assertLt(exact, (got + 1) * split.totalShares, "a whole unit less than its part");
            paid += got;
        }
        vm.assertLe(paid, pot(), "more than the pot");
        vm.assertLt(pot() - paid, 5, "dust");
    }

    /// Thawing by any steps: nothing leaves that did not thaw for the whole period.
    function testFuzz_Thaws(uint112 deposited, uint112[6] memory wishes, uint32[6] memory waits, int64 used)
        external
    {
        vm.assume(deposited != 0);
        deposit(payer, deposited);
        uint256 balance = deposited;
        uint256 amount = 0;
        uint256 end = 0;
        for (uint256 i = 0; i < 6; ++i) {
            vm.warp(block.timestamp + waits[i] % 5 days);
            if (i == 3) balance -= settle(now64(), linesOf(payer, used));
            uint256 wish = wishes[i] % (balance + 1);
            thaw(payer, wish);
            if (wish > min(amount, balance)) end = block.timestamp + THAW_PERIOD;
            amount = wish;
            if (amount == 0) end = 0;
            vm.assertEq(uint256(splitter.thawing(id(), payer).amount), amount, "amount");
            vm.assertEq(uint256(splitter.thawing(id(), payer).end), end, "end");
            uint256 soon = block.timestamp + THAW_PERIOD;
            vm.assertEq(secured(soon), end != 0 && end < soon ? balance - amount : balance);
        }
        if (amount == 0) return;
        vm.warp(end);
        vm.assertEq(withdraw(payer), amount);
        vm.assertEq(usd.balanceOf(payer), amount);
    }

    function secured(uint256 until) internal view returns (uint256) {
        return Assets.unwrap(splitter.secured(tariff, payer, until));
    }

    function positive(int64 value) internal pure returns (uint256) {
        return value > 0 ? uint256(uint64(value)) : 0;
    }

    function min(uint256 a, uint256 b) internal pure returns (uint256) {
        return a < b ? a : b;
    }
}
