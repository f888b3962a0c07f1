// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";

import {ISettlementSplitter} from "../../../contracts/interfaces/ISettlementSplitter.sol";
import {HookToken} from "../../../contracts/mocks/OddTokens.sol";
import {
    ClaimAuthorization,
    Line,
    Party,
    ShareProof,
    Split,
    Tariff
} from "../../../contracts/types/Structs.sol";
import {Assets} from "../../../contracts/types/Units.sol";
import {Base} from "../support/Base.sol";
import {Plain} from "../support/Plain.sol";
import {vm} from "../support/Vm.sol";

/// As `HookToken`, with an EIP-3009 that accepts every signature: what it is for is the hook in the middle of it.
contract AuthorizingHookToken is HookToken {
    function receiveWithAuthorization(
        address from,
        address to,
        uint256 amount,
        uint256,
        uint256,
        bytes32,
        uint8,
        bytes32,
        bytes32
    ) external {
        _transfer(from, to, amount);
    }
}

/// Tokens that call back, and publishers of splits that lie.
contract AttacksTest is Base {
    AuthorizingHookToken internal token;

    function setUp() public override {
        super.setUp();
        token = new AuthorizingHookToken();
        split.asset = address(token);
        tariff = tariffOf(split);
    }

    /* RE-ENTRANCY */

    /// A hook that deposits again must not be credited twice by the difference of balances.
    function test_ReentrantDeposit_IsCreditedOnce() external {
        token.mint(address(token), 1000);
        vm.prank(address(token));
        token.approve(address(splitter), 1000);
        reenter(
            abi.encodeCall(ISettlementSplitter.deposit, (tariff, split, address(token), Assets.wrap(1000)))
        );
        deposit(payer, 1000);
        assertLocked();
        assertAccount(payer, 1000, 0, 0);
        assertAccount(address(token), 0, 0, 0);
    }

    /// The same where the outer deposit came by a permit, or by an authorization.
    function test_ReentrantDepositInADepositBySignature_IsCreditedOnce() external {
        token.mint(address(token), 1000);
        vm.prank(address(token));
        token.approve(address(splitter), 1000);
        for (uint256 i = 0; i < 2; ++i) {
            uint256 before = vm.snapshotState();
            reenter(
                abi.encodeCall(
                    ISettlementSplitter.deposit, (tariff, split, address(token), Assets.wrap(1000))
                )
            );
            depositBySignature(i == 0, 1000);
            assertLocked();
            assertAccount(payer, 1000, 0, 0);
            assertAccount(address(token), 0, 0, 0);
            vm.revertToState(before);
        }
    }

    /// Nor may the tokens of a re-entrant `fund`, or of a multicall, count as the deposit's.
    function test_ReentrantFundInDeposit_IsRefused() external {
        token.mint(address(token), 1000);
        vm.prank(address(token));
        token.approve(address(splitter), 1000);
        bytes[] memory calls = new bytes[](1);
        calls[0] = abi.encodeCall(ISettlementSplitter.fund, (split, Assets.wrap(1000)));
        reenter(abi.encodeCall(ISettlementSplitter.multicall, (calls)));
        deposit(payer, 1000);
        assertLocked();
        vm.assertEq(pot(), 0);
    }

    function test_ReentrantWithdrawInDeposit_IsRefused() external {
        tariff.thawPeriod = 0;
        deposit(address(token), 500);
        thaw(address(token), 500);
        reenter(abi.encodeCall(ISettlementSplitter.withdraw, (tariff, split)));
        deposit(payer, 1000);
        assertLocked();
        assertAccount(payer, 1000, 0, 0);
        assertAccount(address(token), 500, 0, 0);
    }

    function test_ReentrantWithdraw_PaysOnce() external {
        deposit(address(token), 500);
        deposit(payer, 500);
        thaw(address(token), 500);
        vm.warp(START + THAW_PERIOD);
        reenter(abi.encodeCall(ISettlementSplitter.withdraw, (tariff, split)));
        vm.assertEq(withdraw(address(token)), 500);
        assertLocked();
        vm.assertEq(token.balanceOf(address(splitter)), 500);
    }

    /// A claim holds no lock: the books are written before the token is called, so there is nothing left to pay.
    function test_ReentrantClaim_PaysOnce() external {
        bytes[4] memory again = claimsOfTheToken();
        for (uint256 i = 0; i < 4; ++i) {
            uint256 before = vm.snapshotState();
            reenter(again[i]);
            vm.assertEq(claimFirst(0), 500);
            vm.assertTrue(token.called(), "the hook did not run");
            vm.assertEq(token.balanceOf(address(token)), 500);
            vm.assertEq(token.balanceOf(address(splitter)), 500);
            vm.assertEq(splitter.nonces(address(token)), 0);
            vm.revertToState(before);
        }
    }

    /// Nor does any claim run in the middle of what measures balances, or of a withdrawal.
    function test_ReentrantClaimInDepositFundOrWithdraw_IsRefused() external {
        bytes[4] memory again = claimsOfTheToken();
        claimFirst(0);
        deposit(other, 700);
        vm.prank(other);
        splitter.thaw(tariff, Assets.wrap(700));
        vm.warp(START + THAW_PERIOD);
        for (uint256 i = 0; i < 12; ++i) {
            uint256 before = vm.snapshotState();
            token.mint(payer, 100);
            vm.startPrank(payer);
            token.approve(address(splitter), 100);
            reenter(again[i % 4]);
            if (i / 4 == 0) splitter.deposit(tariff, split, payer, Assets.wrap(100));
            else if (i / 4 == 1) splitter.fund(split, Assets.wrap(100));
            vm.stopPrank();
            if (i / 4 == 2) vm.assertEq(withdraw(other), 700);
            assertLocked();
            vm.revertToState(before);
        }
    }

    /// A deposit in the middle of a claim measures its own tokens only.
    function test_ReentrantDepositInClaim_IsCreditedWhatItBrought() external {
        claimsOfTheToken();
        token.mint(address(token), 1000);
        vm.prank(address(token));
        token.approve(address(splitter), 1000);
        bytes[3] memory deposits = [
            abi.encodeCall(ISettlementSplitter.deposit, (tariff, split, address(token), Assets.wrap(1000))),
            abi.encodeCall(
                ISettlementSplitter.depositWithPermit,
                (tariff, split, address(token), Assets.wrap(1000), 0, 0, bytes32(0), bytes32(0))
            ),
            abi.encodeCall(ISettlementSplitter.fund, (split, Assets.wrap(1000)))
        ];
        for (uint256 i = 0; i < 3; ++i) {
            uint256 before = vm.snapshotState();
            reenter(deposits[i]);
            vm.assertEq(claimFirst(0), 500);
            vm.assertTrue(token.succeeded());
            if (i < 2) assertAccount(address(token), 1000, 0, 0);
            else vm.assertEq(pot(), 2000);
            vm.assertEq(token.balanceOf(address(splitter)), 1500);
            vm.revertToState(before);
        }
    }

    /// Settling takes no lock. In the middle of a deposit it sees the books as they were before, and they stay whole.
    function test_ReentrantSettleInDeposit_DrawsWhatWasThereBefore() external {
        deposit(payer, 100);
        Line[] memory lines = linesOf(payer, 800);
        bytes memory signature = signed(tariff, now64(), lines);
        reenter(abi.encodeCall(ISettlementSplitter.settle, (signer, signature, now64(), tariff, lines)));
        deposit(payer, 1000);
        vm.assertTrue(token.succeeded());
        assertAccount(payer, 1000, 100, START);
        vm.assertEq(pot(), 100);
        vm.assertEq(settle(now64(), lines), 700);
        vm.assertEq(token.balanceOf(address(splitter)), 1100);
    }

    /// A thaw set in the middle of a deposit reaches no further than the balance before it.
    function test_ReentrantThawInDeposit_DoesNotReachTheDeposit() external {
        tariff.thawPeriod = 0;
        deposit(address(token), 100);
        reenter(abi.encodeCall(ISettlementSplitter.thaw, (tariff, Assets.wrap(100))));
        deposit(address(token), 1000);
        vm.assertTrue(token.succeeded());
        vm.assertEq(withdraw(address(token)), 100);
        assertAccount(address(token), 1000, 0, 0);
    }

    /* DONATIONS */

    function test_DonationToInflate_InflatesNothing() external {
        deposit(payer, 1000);
        settle(now64(), linesOf(payer, 400));
        token.mint(address(splitter), 1_000_000);
        vm.assertEq(claimFirst(0), 200);
        vm.assertEq(deposit(payer, 5), 5);
        assertAccount(payer, 605, 400, START);
        vm.assertEq(pot(), 400);
    }

    /* SPLITS THAT LIE */

    /// A share of 2^127 beside a phantom sum that would wrap the total to 1.
    function test_PhantomSumThatWraps_IsRefused() external {
        Party memory party = Party(other, 1, 1 << 127);
        uint256 phantom = type(uint256).max - (1 << 127) + 2;
        bytes32 sibling = keccak256("phantom");
        bytes32 root = Plain.node(Plain.leaf(party), party.share, sibling, phantom);
        Split memory lie = Split(address(token), root, 1);
        // The largest sum that calldata can carry is uint128, and even two of them do not wrap.
        ShareProof memory proof = ShareProof(0, new bytes32[](1), new uint128[](1));
        (proof.hashes[0], proof.sums[0]) = (sibling, uint128(1 << 127));
        vm.expectRevert(
            abi.encodeWithSelector(ISettlementSplitter.ShareSumTooLarge.selector, 1 << 128, type(uint128).max)
        );
        splitter.claimFirst(lie, party, proof);

        proof.sums[0] = 1;
        bytes memory data = abi.encodeCall(ISettlementSplitter.claimFirst, (lie, party, proof));
        assembly {
            // The only sum is the last word of the calldata.
            mstore(add(data, mload(data)), phantom)
        }
        (bool success,) = address(splitter).call(data);
        vm.assertFalse(success);
    }

    /// Two leaves of one root cannot overlap: a publisher who puts a larger sum into a node makes its own leaf unprovable.
    function test_OverlappingShares_CannotBothBeProven() external {
        Party memory first = Party(address(0xA1), 1, 600);
        Party memory second = Party(address(0xA2), 1, 600);
        // The root says that the left part holds 400, so that both together look like 1,000.
        bytes32 root = Plain.node(Plain.leaf(first), 400, Plain.leaf(second), 600);
        Split memory lie = Split(address(token), root, 1000);
        ShareProof memory proof = ShareProof(0, new bytes32[](1), new uint128[](1));
        (proof.hashes[0], proof.sums[0]) = (Plain.leaf(second), 600);
        vm.expectPartialRevert(ISettlementSplitter.RootMismatch.selector);
        splitter.claimFirst(lie, first, proof);
        (proof.path, proof.hashes[0], proof.sums[0]) = (1, Plain.leaf(first), 400);
        splitter.claimFirst(lie, second, proof);
        vm.assertEq(uint256(splitter.stake(Plain.splitId(lie), 400, second.account).share), 600);
    }

    /// A node is 129 bytes behind 0x01, a leaf 54 behind 0x00: neither passes as the other.
    function test_NodeAsALeaf_IsRefused() external {
        bytes32 left = Plain.leaf(parties[0]);
        bytes32 right = Plain.leaf(parties[1]);
        bytes memory node = bytes.concat(hex"01", left, bytes32(uint256(500)), right);
        Party memory forged = Party(address(bytes20(left)), uint8(left[20]), 850);
        vm.assertNotEq(Plain.leaf(forged), keccak256(node));
        ShareProof memory proof = ShareProof(0, new bytes32[](1), new uint128[](1));
        (proof.hashes[0], proof.sums[0]) = (Plain.leaf(parties[2]), 150);
        vm.expectPartialRevert(ISettlementSplitter.RootMismatch.selector);
        splitter.claimFirst(split, forged, proof);
    }

    /// The publisher can leave parties out of sight. What is theirs waits for them; nobody else can claim it.
    function test_OpaqueSubtree_TakesOnlyItsOwnShare() external {
        bytes32 opaque = keccak256("nobody knows");
        Party memory known = Party(address(0xA1), 1, 250);
        split = Split(address(token), Plain.node(Plain.leaf(known), 250, opaque, 750), 1000);
        tariff = tariffOf(split);
        deposit(payer, 1000);
        settle(now64(), linesOf(payer, 1000));
        ShareProof memory proof = ShareProof(0, new bytes32[](1), new uint128[](1));
        (proof.hashes[0], proof.sums[0]) = (opaque, 750);
        vm.assertEq(Assets.unwrap(splitter.claimFirst(split, known, proof)), 250);
        vm.assertEq(Assets.unwrap(splitter.claimFirst(split, known, proof)), 0);
        vm.assertEq(token.balanceOf(address(splitter)), 750);
    }

    /// As many parties as one likes: the proof grows by their logarithm, the settlement by nothing.
    /// Each second settlement is measured, with the same slots warm.
    function test_ThreeMillionParties_CostSettlementNothing() external {
        deposit(payer, 1000);
        settleGas(10);
        uint256 few = settleGas(20);
        (Party memory party, ShareProof memory proof) = deepSplit(22);
        tariff = tariffOf(split);
        deposit(payer, 1000);
        settleGas(10);
        uint256 many = settleGas(20);
        vm.assertEq(few, many);
        vm.assertEq(Assets.unwrap(splitter.claimFirst(split, party, proof)), 4);
    }

    /// Up to 255 siblings keep their sides; beyond, `path` has no bits and they all stand on the right.
    function test_ProofsOfAnyHeight_AreClimbed() external {
        (Party memory party, ShareProof memory proof) = deepSplit(300);
        splitter.claimFirst(split, party, proof);
    }

    /* HELPERS */

    function depositBySignature(bool byPermit, uint256 amount) internal {
        token.mint(payer, amount);
        vm.startPrank(payer);
        // This token has no permit; the allowance is there all the same.
        if (byPermit) {
            token.approve(address(splitter), amount);
            splitter.depositWithPermit(tariff, split, payer, Assets.wrap(amount), 0, 0, 0, 0);
        } else {
            splitter.depositWithAuthorization(tariff, split, payer, Assets.wrap(amount), 0, 0, 0, 0, 0, 0);
        }
        vm.stopPrank();
    }

    /// The token is itself a party, with half of a pot of 1,000, and could claim in four ways.
    function claimsOfTheToken() internal returns (bytes[4] memory) {
        parties[0].account = address(token);
        split = splitOf(address(token), parties);
        tariff = tariffOf(split);
        deposit(payer, 1000);
        settle(now64(), linesOf(payer, 1000));
        (ShareProof memory proof,) = proofOf(0);
        return [
            abi.encodeCall(ISettlementSplitter.claimFirst, (split, parties[0], proof)),
            abi.encodeCall(ISettlementSplitter.claim, (0, address(token), split)),
            abi.encodeCall(ISettlementSplitter.claimTo, (split, 0, other)),
            abi.encodeCall(
                ISettlementSplitter.claimWithAuthorization,
                (split, ClaimAuthorization(splitKey(), 0, address(token), other, 0, type(uint256).max), "")
            )
        ];
    }

    function deepSplit(uint256 height) internal returns (Party memory party, ShareProof memory proof) {
        party = Party(address(0xA1), 1, 1000);
        proof = ShareProof(1, new bytes32[](height), new uint128[](height));
        (bytes32 hash, uint256 sum) = (Plain.leaf(party), party.share);
        for (uint256 i = 0; i < height; ++i) {
            (proof.hashes[i], proof.sums[i]) = (keccak256(abi.encode(i)), uint128(i * 16));
            hash = i == 0
                ? Plain.node(proof.hashes[i], proof.sums[i], hash, sum)
                : Plain.node(hash, sum, proof.hashes[i], proof.sums[i]);
            sum += proof.sums[i];
        }
        split = Split(address(token), hash, uint128(sum));
    }

    function settleGas(int64 amount) internal returns (uint256) {
        Line[] memory lines = linesOf(payer, amount);
        bytes memory signature = signed(tariff, now64(), lines);
        return
            this.gasOf(
                abi.encodeCall(ISettlementSplitter.settle, (signer, signature, now64(), tariff, lines))
            );
    }

    /// In a frame of its own, where memory costs the same each time.
    function gasOf(bytes calldata data) external returns (uint256 used) {
        used = gasleft();
        (bool success,) = address(splitter).call(data);
        used -= gasleft();
        vm.assertTrue(success);
    }

    function reenter(bytes memory data) internal {
        token.hook(address(splitter), data);
    }

    function assertLocked() internal view {
        vm.assertTrue(token.called(), "the hook did not run");
        vm.assertFalse(token.succeeded());
        vm.assertEq(
            token.result(),
            abi.encodeWithSelector(ReentrancyGuardTransient.ReentrancyGuardReentrantCall.selector)
        );
    }
}
