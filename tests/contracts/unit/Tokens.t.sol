// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";

import {ISettlementSplitter} from "../../../contracts/interfaces/ISettlementSplitter.sol";
import {
    FalseToken,
    FeeToken,
    NoReturnToken,
    PlainToken,
    ShrinkingToken,
    StrictToken
} from "../../../contracts/mocks/OddTokens.sol";
import {TestUSD} from "../../../contracts/mocks/TestUSD.sol";
import {TokenProxy} from "../../../contracts/mocks/TokenProxy.sol";
import {Split, Tariff} from "../../../contracts/types/Structs.sol";
import {Assets} from "../../../contracts/types/Units.sol";
import {Base} from "../support/Base.sol";
import {vm} from "../support/Vm.sol";

/// What becomes of each habit that tokens have: supported, or what happens instead.
contract TokensTest is Base {
    /// Moves split and tariff of the base to another token.
    function adopt(address token) internal {
        split.asset = token;
        tariff = tariffOf(split);
    }

    function wholeWay(uint256 amount) internal {
        deposit(payer, amount);
        settle(now64(), linesOf(payer, int64(int256(amount / 2))));
        thaw(payer, balanceOf(payer));
        vm.warp(block.timestamp + THAW_PERIOD);
        withdraw(payer);
        claimFirst(0);
        claimFirst(1);
        claimFirst(2);
    }

    function tokens(address who) internal view returns (uint256) {
        return TestUSD(split.asset).balanceOf(who);
    }

    function test_Decimals0And2And24_AreNothingToTheSplitter() external {
        uint8[3] memory decimals = [0, 2, 24];
        for (uint256 i = 0; i < 3; ++i) {
            adopt(address(new PlainToken(decimals[i])));
            wholeWay(2000);
            vm.assertEq(tokens(payer), 1000);
            vm.assertEq(tokens(parties[0].account), 500);
            vm.assertEq(tokens(address(splitter)), 0);
        }
    }

    function test_AmountsAbove2To96_AreCarried() external {
        tariff.scale = 0;
        uint256 amount = 1 << 111;
        deposit(payer, amount);
        uint256 drawn = settle(now64(), linesOf(payer, type(int64).max));
        vm.assertEq(drawn, uint256(uint64(type(int64).max)) * 1e6);
        fund(1 << 127);
        vm.assertEq(claimFirst(0), (drawn + (1 << 127)) / 2);
    }

    function test_ProxiedToken_IsLikeAnyOther() external {
        adopt(address(new TokenProxy(address(new TestUSD()))));
        vm.assertEq(TestUSD(split.asset).name(), "Test USD");
        wholeWay(2000);
        vm.assertEq(tokens(payer), 1000);
        vm.assertEq(tokens(address(splitter)), 0);
    }

    function test_NoReturnValue_IsSupported() external {
        adopt(address(new NoReturnToken()));
        wholeWay(2000);
        vm.assertEq(tokens(payer), 1000);
        vm.assertEq(tokens(parties[0].account), 500);
    }

    /// A leftover allowance does not stop a deposit: the splitter approves nobody and needs none of its own.
    function test_ApprovalRace_IsThePayersAlone() external {
        adopt(address(new NoReturnToken()));
        NoReturnToken token = NoReturnToken(split.asset);
        token.mint(payer, 100);
        vm.startPrank(payer);
        token.approve(address(splitter), 100);
        vm.expectRevert();
        token.approve(address(splitter), 50);
        splitter.deposit(tariff, split, payer, Assets.wrap(60));
        splitter.deposit(tariff, split, payer, Assets.wrap(40));
        vm.stopPrank();
        assertAccount(payer, 100, 0, 0);
        vm.assertEq(token.allowance(address(splitter), payer), 0);
    }

    function test_FeeOnTransfer_CreditsWhatArrived() external {
        adopt(address(new FeeToken()));
        vm.assertEq(deposit(payer, 1000), 990);
        assertAccount(payer, 990, 0, 0);
        vm.assertEq(tokens(address(splitter)), 990);
        settle(now64(), linesOf(payer, 500));
        // The books give 250; the token keeps its hundredth of it.
        vm.assertEq(claimFirst(0), 250);
        vm.assertEq(tokens(parties[0].account), 248);
        vm.assertEq(tokens(address(splitter)), 740);
    }

    function test_ReturnsFalse_IsAFailure() external {
        FalseToken token = new FalseToken();
        adopt(address(token));
        deposit(payer, 1000);
        fund1000(address(token));
        claimFirst(0);
        fund1000(address(token));
        thaw(payer, 1000);
        vm.warp(START + THAW_PERIOD);

        token.fail(true);
        bytes memory refusal = abi.encodeWithSelector(SafeERC20.SafeERC20FailedOperation.selector, token);
        vm.startPrank(payer);
        vm.expectRevert(refusal);
        splitter.deposit(tariff, split, payer, Assets.wrap(1));
        vm.expectRevert(refusal);
        splitter.withdraw(tariff, split);
        vm.expectRevert(refusal);
        splitter.fund(split, Assets.wrap(1));
        vm.expectRevert(refusal);
        splitter.claim(0, parties[0].account, split);
        vm.stopPrank();

        token.fail(false);
        vm.assertEq(withdraw(payer), 1000);
        vm.assertEq(Assets.unwrap(splitter.claim(0, parties[0].account, split)), 500);
    }

    function test_RevertsOnZero_IsNeverAskedForZero() external {
        adopt(address(new StrictToken()));
        vm.assertEq(claimFirst(0), 0);
        deposit(payer, 100);
        thaw(payer, 100);
        settle(now64(), linesOf(payer, 100));
        vm.warp(START + THAW_PERIOD);
        vm.assertEq(withdraw(payer), 0);
        vm.assertEq(Assets.unwrap(splitter.claim(0, parties[0].account, split)), 50);
        vm.assertEq(Assets.unwrap(splitter.claim(0, parties[0].account, split)), 0);
    }

    /// A blocked party is held up alone, and takes what is its own to another address if the token lets it.
    function test_Blocklist_HoldsUpTheBlockedAlone() external {
        StrictToken token = new StrictToken();
        adopt(address(token));
        deposit(payer, 1000);
        settle(now64(), linesOf(payer, 1000));
        claimFirst(1);
        token.setBlocked(parties[0].account, true);
        vm.expectRevert(abi.encodeWithSelector(StrictToken.Blocked.selector, parties[0].account));
        this.tryClaimFirst(0);
        vm.assertEq(claimFirst(2), 150);
        deposit(payer, 10);
        vm.warp(START + 1);
        vm.assertEq(settle(now64(), linesOf(payer, 1010)), 10);
        token.setBlocked(parties[0].account, false);
        vm.assertEq(claimFirst(0), 505);
    }

    function tryClaimFirst(uint256 index) external {
        claimFirst(index);
    }

    function test_PausedToken_HoldsUpItsMovementsAndLosesNothing() external {
        StrictToken token = new StrictToken();
        adopt(address(token));
        deposit(payer, 1000);
        thaw(payer, 500);
        token.setPaused(true);
        // Settling calls no token.
        vm.assertEq(settle(now64(), linesOf(payer, 300)), 300);
        vm.warp(START + THAW_PERIOD);
        vm.prank(payer);
        vm.expectRevert(abi.encodeWithSelector(StrictToken.Paused.selector));
        splitter.withdraw(tariff, split);
        vm.expectRevert(abi.encodeWithSelector(StrictToken.Paused.selector));
        this.tryClaimFirst(0);
        token.setPaused(false);
        vm.assertEq(withdraw(payer), 500);
        vm.assertEq(claimFirst(0), 150);
    }

    /// Not supported: the books do not follow, and the last to come find nothing. No other token is touched.
    function test_RebasingDown_HarmsHoldersOfThatTokenOnly() external {
        deposit(payer, 1000);
        Tariff memory sound = tariff;
        Split memory soundSplit = split;

        ShrinkingToken token = new ShrinkingToken();
        adopt(address(token));
        deposit(payer, 1000);
        deposit(other, 1000);
        thaw(payer, 1000);
        thaw(other, 1000);
        token.shrink(address(splitter), 1000);
        vm.warp(START + THAW_PERIOD);
        vm.assertEq(withdraw(payer), 1000);
        vm.prank(other);
        vm.expectRevert();
        splitter.withdraw(tariff, split);

        (tariff, split) = (sound, soundSplit);
        vm.assertEq(usd.balanceOf(address(splitter)), 1000);
        thaw(payer, 1000);
        vm.warp(START + 2 * THAW_PERIOD);
        vm.assertEq(withdraw(payer), 1000);
    }

    function test_AddressWithoutCode_IsNoToken() external {
        adopt(address(0xC0DE));
        vm.expectRevert();
        splitter.deposit(tariff, split, payer, Assets.wrap(1));
        vm.expectRevert();
        splitter.fund(split, Assets.wrap(1));
    }

    function fund1000(address token) internal {
        PlainToken(token).mint(address(this), 1000);
        PlainToken(token).approve(address(splitter), 1000);
        splitter.fund(split, Assets.wrap(1000));
    }
}
