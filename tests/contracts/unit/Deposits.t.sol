// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ISettlementSplitter} from "../../../contracts/interfaces/ISettlementSplitter.sol";
import {HollowToken} from "../../../contracts/mocks/OddTokens.sol";
import {Split, Tariff} from "../../../contracts/types/Structs.sol";
import {Assets} from "../../../contracts/types/Units.sol";
import {Base} from "../support/Base.sol";
import {Plain} from "../support/Plain.sol";
import {vm} from "../support/Vm.sol";

contract DepositsTest is Base {
    uint256 internal constant PAYER_KEY = 0xBA1E;

    struct Signature {
        uint8 v;
        bytes32 r;
        bytes32 s;
    }

    function setUp() public override {
        super.setUp();
        payer = vm.addr(PAYER_KEY);
    }

    /* BY APPROVAL */

    function test_Deposit_CreditsThePayerAndOpensTheAccount() external {
        approve(payer, 1000);
        vm.expectEmit(address(splitter));
        emit ISettlementSplitter.AccountOpened(id(), payer, tariff, split);
        vm.expectEmit(address(splitter));
        emit ISettlementSplitter.Deposited(id(), payer, payer, Assets.wrap(1000));
        vm.prank(payer);
        vm.assertEq(Assets.unwrap(splitter.deposit(tariff, split, payer, Assets.wrap(1000))), 1000);
        assertAccount(payer, 1000, 0, 0);
        vm.assertEq(usd.balanceOf(address(splitter)), 1000);
    }

    function test_Deposit_ForAnotherIsAGiftToIt() external {
        approve(other, 1000);
        vm.expectEmit(address(splitter));
        emit ISettlementSplitter.AccountOpened(id(), payer, tariff, split);
        vm.expectEmit(address(splitter));
        emit ISettlementSplitter.Deposited(id(), payer, other, Assets.wrap(1000));
        vm.prank(other);
        splitter.deposit(tariff, split, payer, Assets.wrap(1000));
        assertAccount(payer, 1000, 0, 0);
        assertAccount(other, 0, 0, 0);
    }

    function test_Deposit_OpensOnlyWhatIsNew() external {
        deposit(payer, 10);
        settle(now64(), linesOf(payer, 10));
        assertAccount(payer, 0, 10, START);
        vm.recordLogs();
        deposit(payer, 5);
        // The token's mint, approval and transfer, and the deposit: no opening.
        vm.assertEq(vm.getRecordedLogs().length, 4);
        assertAccount(payer, 5, 10, START);
    }

    function test_Deposit_RefusesTheZeroPayer() external {
        vm.expectRevert(abi.encodeWithSelector(ISettlementSplitter.ZeroPayer.selector));
        splitter.deposit(tariff, split, address(0), Assets.wrap(1));
    }

    function test_Deposit_RefusesAnotherSplitThanTheTariffs() external {
        Split memory wrong = split;
        wrong.totalShares += 1;
        vm.expectRevert(
            abi.encodeWithSelector(
                ISettlementSplitter.SplitMismatch.selector, splitKey(), Plain.splitId(wrong)
            )
        );
        splitter.deposit(tariff, wrong, payer, Assets.wrap(1));
    }

    function test_Deposit_RefusesASplitWithoutShares() external {
        Split memory empty = split;
        empty.totalShares = 0;
        Tariff memory under = tariffOf(empty);
        vm.expectRevert(abi.encodeWithSelector(ISettlementSplitter.ZeroTotalShares.selector));
        splitter.deposit(under, empty, payer, Assets.wrap(1));
    }

    function test_Deposit_RefusesScaleAndThawPeriodOutOfBounds() external {
        Tariff memory wrong = tariff;
        wrong.scale = 255;
        vm.expectRevert(abi.encodeWithSelector(ISettlementSplitter.ScaleTooLarge.selector, 255, 36));
        splitter.deposit(wrong, split, payer, Assets.wrap(1));
        wrong = tariff;
        wrong.thawPeriod = type(uint32).max;
        vm.expectRevert(
            abi.encodeWithSelector(ISettlementSplitter.ThawPeriodTooLong.selector, type(uint32).max, 90 days)
        );
        splitter.deposit(wrong, split, payer, Assets.wrap(1));
    }

    function test_Deposit_RefusesWhereNothingArrives() external {
        approve(payer, 0);
        vm.prank(payer);
        vm.expectRevert(abi.encodeWithSelector(ISettlementSplitter.NothingArrived.selector, usd));
        splitter.deposit(tariff, split, payer, Assets.wrap(0));
    }

    function test_Deposit_OfATokenThatMovesNothingIsRefused() external {
        Split memory hollow = splitOf(address(new HollowToken()), parties);
        Tariff memory under = tariffOf(hollow);
        bytes memory refusal =
            abi.encodeWithSelector(ISettlementSplitter.NothingArrived.selector, hollow.asset);
        vm.expectRevert(refusal);
        splitter.deposit(under, hollow, payer, Assets.wrap(1));
        vm.expectRevert(refusal);
        splitter.depositWithPermit(under, hollow, payer, Assets.wrap(1), 0, 0, 0, 0);
        vm.expectRevert(refusal);
        splitter.depositWithAuthorization(under, hollow, payer, Assets.wrap(1), 0, 0, 0, 0, 0, 0);
    }

    function test_Deposit_HoldsBalanceAndSettledTogetherToUint112() external {
        uint256 limit = type(uint112).max;
        deposit(payer, 100);
        settle(now64(), linesOf(payer, 40));
        assertAccount(payer, 60, 40, START);
        deposit(payer, limit - 100);
        assertAccount(payer, limit - 40, 40, START);

        approve(payer, 1);
        vm.prank(payer);
        vm.expectRevert(abi.encodeWithSelector(ISettlementSplitter.AccountFull.selector, 1, 0));
        splitter.deposit(tariff, split, payer, Assets.wrap(1));

        // All of it can be drawn: the account cannot overflow at settlement.
        tariff.scale = 0;
        Tariff memory dear = tariff;
        depositUnder(dear, split, payer, limit);
        settleUnder(dear, now64(), linesOf(payer, type(int64).max));
        vm.assertEq(uint256(splitter.account(id(), payer).settled), uint256(uint64(type(int64).max)) * 1e6);
    }

    function test_Deposit_RefusesAmountsBeyondUint112() external {
        uint256 amount = uint256(type(uint112).max) + 1;
        approve(payer, amount);
        vm.prank(payer);
        vm.expectRevert(
            abi.encodeWithSelector(ISettlementSplitter.AccountFull.selector, amount, type(uint112).max)
        );
        splitter.deposit(tariff, split, payer, Assets.wrap(amount));
    }

    /* BY PERMIT */

    function test_DepositWithPermit_PullsFromTheCaller() external {
        usd.mint(payer, 1000);
        Signature memory permit = permitOf(1000, START);
        vm.expectEmit(address(splitter));
        emit ISettlementSplitter.Deposited(id(), payer, payer, Assets.wrap(1000));
        vm.prank(payer);
        splitter.depositWithPermit(
            tariff, split, payer, Assets.wrap(1000), START, permit.v, permit.r, permit.s
        );
        assertAccount(payer, 1000, 0, 0);
        vm.assertEq(usd.allowance(payer, address(splitter)), 0);
    }

    /// Whoever submits a permit first only grants the allowance that it grants anyway.
    function test_PermitFrontRunBySomeoneElse_TheDepositStillGoesThrough() external {
        usd.mint(payer, 1000);
        Signature memory permit = permitOf(1000, START);
        vm.prank(other);
        usd.permit(payer, address(splitter), 1000, START, permit.v, permit.r, permit.s);
        vm.prank(payer);
        splitter.depositWithPermit(
            tariff, split, payer, Assets.wrap(1000), START, permit.v, permit.r, permit.s
        );
        assertAccount(payer, 1000, 0, 0);
    }

    /// Nobody can use the permit of a payer to deposit the payer's money.
    function test_PermitOfAnother_PullsNothingFromIt() external {
        usd.mint(payer, 1000);
        Signature memory permit = permitOf(1000, START);
        vm.prank(other);
        usd.permit(payer, address(splitter), 1000, START, permit.v, permit.r, permit.s);
        vm.prank(other);
        vm.expectRevert();
        splitter.depositWithPermit(
            tariff, split, other, Assets.wrap(1000), START, permit.v, permit.r, permit.s
        );
        vm.assertEq(usd.balanceOf(payer), 1000);
    }

    function test_ExpiredPermit_IsRefusedForWantOfAnAllowance() external {
        usd.mint(payer, 1000);
        Signature memory permit = permitOf(1000, START - 1);
        vm.prank(payer);
        vm.expectRevert();
        splitter.depositWithPermit(
            tariff, split, payer, Assets.wrap(1000), START - 1, permit.v, permit.r, permit.s
        );
    }

    /* BY AUTHORIZATION */

    function test_DepositWithAuthorization_CreditsWhoSigned() external {
        usd.mint(payer, 1000);
        Signature memory permission = authorizationOf(id(), "salt", 1000);
        vm.expectEmit(address(splitter));
        emit ISettlementSplitter.Deposited(id(), payer, payer, Assets.wrap(1000));
        vm.prank(other);
        splitter.depositWithAuthorization(
            tariff,
            split,
            payer,
            Assets.wrap(1000),
            0,
            type(uint256).max >> 200,
            "salt",
            permission.v,
            permission.r,
            permission.s
        );
        assertAccount(payer, 1000, 0, 0);
        assertAccount(other, 0, 0, 0);
    }

    /// The nonce names the tariff: whoever submits the authorization cannot turn it to a tariff of its own.
    function test_AuthorizationForAnotherTariff_IsRefused() external {
        usd.mint(payer, 1000);
        Signature memory permission = authorizationOf(id(), "salt", 1000);
        Tariff memory theirs = tariff;
        theirs.provider = other;
        vm.expectRevert();
        splitter.depositWithAuthorization(
            theirs,
            split,
            payer,
            Assets.wrap(1000),
            0,
            type(uint256).max >> 200,
            "salt",
            permission.v,
            permission.r,
            permission.s
        );
        vm.assertEq(usd.balanceOf(payer), 1000);
    }

    function test_AuthorizationTwice_IsRefused() external {
        usd.mint(payer, 2000);
        Signature memory permission = authorizationOf(id(), "salt", 1000);
        for (uint256 i = 0; i < 2; ++i) {
            if (i == 1) vm.expectRevert();
            splitter.depositWithAuthorization(
                tariff,
                split,
                payer,
                Assets.wrap(1000),
                0,
                type(uint256).max >> 200,
                "salt",
                permission.v,
                permission.r,
                permission.s
            );
        }
        assertAccount(payer, 1000, 0, 0);
    }

    function test_AuthorizationSubmittedToTheTokenByAnother_IsRefusedByTheToken() external {
        usd.mint(payer, 1000);
        Signature memory permission = authorizationOf(id(), "salt", 1000);
        vm.prank(other);
        vm.expectRevert();
        usd.receiveWithAuthorization(
            payer,
            address(splitter),
            1000,
            0,
            type(uint256).max >> 200,
            keccak256(abi.encode(id(), bytes32("salt"))),
            permission.v,
            permission.r,
            permission.s
        );
        vm.assertEq(usd.balanceOf(payer), 1000);
    }

    /* SENT WITHOUT A DEPOSIT */

    function test_TokensSentByAccident_AreCreditedToNobody() external {
        usd.mint(address(this), 500);
        usd.transfer(address(splitter), 500);
        deposit(payer, 1000);
        assertAccount(payer, 1000, 0, 0);
        vm.assertEq(pot(), 0);
        vm.assertEq(usd.balanceOf(address(splitter)), 1500);
    }

    /* HELPERS */

    function approve(address who, uint256 amount) internal {
        usd.mint(who, amount);
        vm.prank(who);
        usd.approve(address(splitter), amount);
    }

    function permitOf(uint256 amount, uint256 deadline) internal view returns (Signature memory result) {
        bytes32 typehash =
            keccak256("Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)");
        bytes32 structHash =
            keccak256(abi.encode(typehash, payer, address(splitter), amount, usd.nonces(payer), deadline));
        (result.v, result.r, result.s) = vm.sign(PAYER_KEY, Plain.digest(usd.DOMAIN_SEPARATOR(), structHash));
    }

    function authorizationOf(bytes32 underId, bytes32 salt, uint256 amount)
        internal
        view
        returns (Signature memory result)
    {
        bytes32 typehash = keccak256(
            "ReceiveWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
        );
        bytes32 nonce = keccak256(abi.encode(underId, salt));
        bytes32 structHash = keccak256(
            abi.encode(typehash, payer, address(splitter), amount, 0, type(uint256).max >> 200, nonce)
        );
        (result.v, result.r, result.s) = vm.sign(PAYER_KEY, Plain.digest(usd.DOMAIN_SEPARATOR(), structHash));
    }
}
