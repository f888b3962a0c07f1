// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ISettlementSplitter} from "../../../contracts/interfaces/ISettlementSplitter.sol";
import {ListSigner} from "../../../contracts/mocks/Signers.sol";
import {ClaimAuthorization, Party, ShareProof, Split, Stake} from "../../../contracts/types/Structs.sol";
import {Assets} from "../../../contracts/types/Units.sol";
import {Base} from "../support/Base.sol";
import {Plain} from "../support/Plain.sol";
import {vm} from "../support/Vm.sol";

contract ClaimsTest is Base {
    uint256 internal constant PARTY_KEY = 0xA2;

    function setUp() public override {
        super.setUp();
        parties[1].account = vm.addr(PARTY_KEY);
        split = splitOf(address(usd), parties);
        tariff = tariffOf(split);
    }

    /* FUNDING */

    function test_Fund_AddsToThePot() external {
        usd.mint(other, 700);
        vm.startPrank(other);
        usd.approve(address(splitter), 700);
        vm.expectEmit(address(splitter));
        emit ISettlementSplitter.Funded(splitKey(), other, Assets.wrap(700));
        vm.assertEq(Assets.unwrap(splitter.fund(split, Assets.wrap(700))), 700);
        vm.stopPrank();
        vm.assertEq(pot(), 700);
    }

    function test_Fund_RefusesNothingAndSplitsWithoutShares() external {
        vm.expectRevert(abi.encodeWithSelector(ISettlementSplitter.NothingArrived.selector, usd));
        splitter.fund(split, Assets.wrap(0));
        Split memory empty = split;
        empty.totalShares = 0;
        vm.expectRevert(abi.encodeWithSelector(ISettlementSplitter.ZeroTotalShares.selector));
        splitter.fund(empty, Assets.wrap(1));
    }

    function test_Fund_HoldsThePotToUint128() external {
        fund(type(uint128).max);
        usd.mint(address(this), 1);
        usd.approve(address(splitter), 1);
        vm.expectRevert(abi.encodeWithSelector(ISettlementSplitter.PotFull.selector, 1, 0));
        splitter.fund(split, Assets.wrap(1));
        claimFirst(0);
        vm.assertEq(usd.balanceOf(parties[0].account), type(uint128).max / 2);
    }

    /* FIRST CLAIMS */

    function test_ClaimFirst_RegistersAndPaysTheAccount() external {
        fund(1001);
        (ShareProof memory proof, uint256 offset) = proofOf(1);
        vm.assertEq(offset, 500);
        address account = parties[1].account;
        vm.expectEmit(address(splitter));
        emit ISettlementSplitter.Registered(splitKey(), account, 500, 2, 350);
        vm.expectEmit(address(splitter));
        emit ISettlementSplitter.Claimed(splitKey(), account, payment(500, 350));
        vm.prank(other);
        vm.assertEq(Assets.unwrap(splitter.claimFirst(split, parties[1], proof)), 350);
        vm.assertEq(usd.balanceOf(account), 350);
        assertStake(500, account, 350, 350);
    }

    function test_ClaimFirst_OfZeroRegisters() external {
        vm.assertEq(claimFirst(0), 0);
        assertStake(0, parties[0].account, 500, 0);
        fund(10);
        vm.assertEq(Assets.unwrap(splitter.claim(0, parties[0].account, split)), 5);
    }

    function test_ClaimFirst_ASecondTimeActsLikeALaterClaim() external {
        fund(100);
        vm.assertEq(claimFirst(0), 50);
        vm.assertEq(claimFirst(0), 0);
        fund(100);
        vm.recordLogs();
        vm.assertEq(claimFirst(0), 50);
        // Claimed and the token's transfer; no second registration.
        vm.assertEq(vm.getRecordedLogs().length, 2);
        assertStake(0, parties[0].account, 500, 100);
    }

    function test_ClaimFirst_RefusesWhatDoesNotLeadToTheRoot() external {
        fund(1000);
        (ShareProof memory proof,) = proofOf(1);
        Party memory wrong = parties[1];
        wrong.share += 1;
        vm.expectPartialRevert(ISettlementSplitter.RootMismatch.selector);
        splitter.claimFirst(split, wrong, proof);
        wrong = parties[1];
        wrong.account = other;
        vm.expectPartialRevert(ISettlementSplitter.RootMismatch.selector);
        splitter.claimFirst(split, wrong, proof);
        wrong = parties[1];
        wrong.role = 3;
        vm.expectPartialRevert(ISettlementSplitter.RootMismatch.selector);
        splitter.claimFirst(split, wrong, proof);

        proof.path ^= 1;
        vm.expectPartialRevert(ISettlementSplitter.RootMismatch.selector);
        splitter.claimFirst(split, parties[1], proof);
        proof.path ^= 1;
        proof.sums[1] -= 1;
        vm.expectPartialRevert(ISettlementSplitter.RootMismatch.selector);
        splitter.claimFirst(split, parties[1], proof);
    }

    function test_ClaimFirst_RefusesAnotherTotal() external {
        Split memory wrong = split;
        wrong.totalShares = 1;
        (ShareProof memory proof,) = proofOf(1);
        vm.expectRevert(abi.encodeWithSelector(ISettlementSplitter.TotalSharesMismatch.selector, 1, 1000));
        splitter.claimFirst(wrong, parties[1], proof);
    }

    function test_ClaimFirst_RefusesAProofOfUnequalLengths() external {
        (ShareProof memory proof,) = proofOf(1);
        proof.sums = new uint128[](1);
        vm.expectRevert(abi.encodeWithSelector(ISettlementSplitter.ProofLengthMismatch.selector, 2, 1));
        splitter.claimFirst(split, parties[1], proof);
    }

    function test_ClaimFirst_RefusesZeroSharesAndRoles() external {
        (ShareProof memory proof,) = proofOf(1);
        Party memory wrong = parties[1];
        wrong.share = 0;
        vm.expectRevert(abi.encodeWithSelector(ISettlementSplitter.ZeroShare.selector, wrong.account));
        splitter.claimFirst(split, wrong, proof);
        wrong = parties[1];
        wrong.role = 0;
        vm.expectRevert(abi.encodeWithSelector(ISettlementSplitter.ZeroRole.selector, wrong.account));
        splitter.claimFirst(split, wrong, proof);
    }

    function test_SamePartyTwiceInASplit_HoldsTwoStakes() external {
        parties[2].account = parties[0].account;
        split = splitOf(address(usd), parties);
        fund(1000);
        vm.assertEq(claimFirst(0), 500);
        vm.assertEq(claimFirst(2), 150);
        assertStake(0, parties[0].account, 500, 500);
        assertStake(850, parties[0].account, 150, 150);
        vm.assertEq(usd.balanceOf(parties[0].account), 650);
    }

    /* LATER CLAIMS */

    function test_Claim_PaysTheDifferenceToTheAccountWhoeverAsks() external {
        fund(100);
        claimFirst(0);
        fund(11);
        vm.prank(other);
        // floor(111 / 2) - 50
        vm.assertEq(Assets.unwrap(splitter.claim(0, parties[0].account, split)), 5);
        vm.assertEq(usd.balanceOf(parties[0].account), 55);
        fund(1);
        vm.assertEq(Assets.unwrap(splitter.claim(0, parties[0].account, split)), 1);
    }

    function test_ClaimTwice_PaysNothingTheSecondTime() external {
        fund(100);
        claimFirst(0);
        vm.recordLogs();
        vm.assertEq(Assets.unwrap(splitter.claim(0, parties[0].account, split)), 0);
        vm.assertEq(vm.getRecordedLogs().length, 0);
        vm.assertEq(usd.balanceOf(parties[0].account), 50);
    }

    function test_Claim_OfAnUnregisteredPartyIsRefused() external {
        fund(100);
        claimFirst(0);
        refuseUnregistered(500, parties[1].account);
        refuseUnregistered(0, parties[1].account);
        refuseUnregistered(1, parties[0].account);
    }

    function test_Claim_UnderAnotherSplitIsRefused() external {
        fund(100);
        claimFirst(0);
        Split memory wrong = split;
        wrong.asset = address(this);
        vm.expectPartialRevert(ISettlementSplitter.NotRegistered.selector);
        splitter.claim(0, parties[0].account, wrong);
    }

    function test_EveryPartyClaimed_LessThanOneUnitEachStays() external {
        fund(1_000_003);
        uint256 paid = claimFirst(0) + claimFirst(1) + claimFirst(2);
        vm.assertEq(paid, 500_001 + 350_001 + 150_000);
        vm.assertLt(pot() - paid, parties.length, "dust");
    }

    function test_ClaimTo_PaysAnyRecipientOfThePartysChoice() external {
        fund(100);
        claimFirst(0);
        fund(100);
        vm.expectEmit(address(splitter));
        emit ISettlementSplitter.ClaimedTo(splitKey(), parties[0].account, other, payment(0, 50));
        vm.prank(parties[0].account);
        vm.assertEq(Assets.unwrap(splitter.claimTo(split, 0, other)), 50);
        vm.assertEq(usd.balanceOf(other), 50);
    }

    function test_ClaimTo_OfAnothersStakeIsRefused() external {
        fund(100);
        claimFirst(0);
        fund(100);
        vm.prank(other);
        vm.expectRevert(
            abi.encodeWithSelector(ISettlementSplitter.NotRegistered.selector, splitKey(), 0, other)
        );
        splitter.claimTo(split, 0, other);
    }

    function test_ClaimToTheSplitterOrToNobody_IsRefused() external {
        fund(100);
        claimFirst(0);
        fund(100);
        address[2] memory recipients = [address(splitter), address(0)];
        for (uint256 i = 0; i < 2; ++i) {
            vm.prank(parties[0].account);
            vm.expectRevert(
                abi.encodeWithSelector(ISettlementSplitter.InvalidRecipient.selector, recipients[i])
            );
            splitter.claimTo(split, 0, recipients[i]);
        }
    }

    /* AUTHORIZATIONS */

    function test_ClaimWithAuthorization_PaysTheRecipientOnce() external {
        ClaimAuthorization memory consent = consentOf(other);
        bytes memory signature = sign(PARTY_KEY, Plain.claimHash(consent));
        vm.expectEmit(address(splitter));
        emit ISettlementSplitter.ClaimedTo(splitKey(), consent.account, other, payment(500, 350));
        vm.prank(address(0xD07));
        vm.assertEq(Assets.unwrap(splitter.claimWithAuthorization(split, consent, signature)), 350);
        vm.assertEq(usd.balanceOf(other), 350);
        vm.assertEq(splitter.nonces(consent.account), 1);

        fund(1000);
        vm.expectRevert(
            abi.encodeWithSelector(ISettlementSplitter.InvalidNonce.selector, consent.account, 1, 0)
        );
        splitter.claimWithAuthorization(split, consent, signature);
    }

    /// Nobody can burn a party's consent before there is something to pay.
    function test_Authorization_WithNothingToPayIsRefusedAndStaysGood() external {
        claimFirst(1);
        ClaimAuthorization memory consent =
            ClaimAuthorization(splitKey(), 500, parties[1].account, other, 0, START + 1);
        bytes memory signature = sign(PARTY_KEY, Plain.claimHash(consent));
        vm.expectRevert(
            abi.encodeWithSelector(
                ISettlementSplitter.NothingToClaim.selector, splitKey(), 500, parties[1].account
            )
        );
        splitter.claimWithAuthorization(split, consent, signature);
        vm.assertEq(splitter.nonces(parties[1].account), 0);
        fund(1000);
        vm.assertEq(Assets.unwrap(splitter.claimWithAuthorization(split, consent, signature)), 350);
    }

    function test_Authorization_OfAnotherNonceIsRefused() external {
        ClaimAuthorization memory consent = consentOf(other);
        consent.nonce = 1;
        bytes memory signature = sign(PARTY_KEY, Plain.claimHash(consent));
        vm.expectRevert(
            abi.encodeWithSelector(ISettlementSplitter.InvalidNonce.selector, consent.account, 0, 1)
        );
        splitter.claimWithAuthorization(split, consent, signature);
    }

    function test_StaleAuthorization_IsRefused() external {
        ClaimAuthorization memory consent = consentOf(other);
        consent.deadline = block.timestamp;
        bytes memory signature = sign(PARTY_KEY, Plain.claimHash(consent));
        vm.warp(START + 1);
        vm.expectRevert(
            abi.encodeWithSelector(ISettlementSplitter.AuthorizationExpired.selector, START, START + 1)
        );
        splitter.claimWithAuthorization(split, consent, signature);
        vm.warp(START);
        splitter.claimWithAuthorization(split, consent, signature);
    }

    function test_Authorization_ForAnotherSplitIsRefused() external {
        ClaimAuthorization memory consent = consentOf(other);
        bytes memory signature = sign(PARTY_KEY, Plain.claimHash(consent));
        Split memory wrong = split;
        wrong.root = bytes32(0);
        vm.expectRevert(
            abi.encodeWithSelector(
                ISettlementSplitter.SplitMismatch.selector, splitKey(), Plain.splitId(wrong)
            )
        );
        splitter.claimWithAuthorization(wrong, consent, signature);
    }

    function test_Authorization_TamperedWithIsRefused() external {
        ClaimAuthorization memory consent = consentOf(other);
        bytes memory signature = sign(PARTY_KEY, Plain.claimHash(consent));
        consent.recipient = address(0xBAD);
        refuseSignature(consent, signature);
        consent = consentOf(other);
        consent.offset = 0;
        refuseSignature(consent, signature);
        consent = consentOf(other);
        consent.deadline += 1;
        refuseSignature(consent, signature);
        consent = consentOf(other);
        refuseSignature(consent, sign(99, Plain.claimHash(consent)));
        consent.account = parties[0].account;
        refuseSignature(consent, signature);
        vm.assertEq(splitter.nonces(parties[1].account), 0);
    }

    function test_Authorization_OnAnotherDeploymentIsRefused() external {
        ClaimAuthorization memory consent = consentOf(other);
        bytes memory signature = sign(PARTY_KEY, Plain.claimHash(consent));
        ISettlementSplitter twin = ISettlementSplitter(vm.deployCode("SettlementSplitter.sol"));
        vm.expectPartialRevert(ISettlementSplitter.InvalidSignature.selector);
        twin.claimWithAuthorization(split, consent, signature);
    }

    function test_Authorization_ToTheSplitterIsRefused() external {
        ClaimAuthorization memory consent = consentOf(address(splitter));
        bytes memory signature = sign(PARTY_KEY, Plain.claimHash(consent));
        vm.expectRevert(
            abi.encodeWithSelector(ISettlementSplitter.InvalidRecipient.selector, address(splitter))
        );
        splitter.claimWithAuthorization(split, consent, signature);
    }

    function test_Authorization_OfAContractParty() external {
        ListSigner wallet = new ListSigner();
        parties[1].account = address(wallet);
        split = splitOf(address(usd), parties);
        ClaimAuthorization memory consent = consentOf(other);
        refuseSignature(consent, "");
        wallet.accept(digestOf(Plain.claimHash(consent)), true);
        vm.assertEq(Assets.unwrap(splitter.claimWithAuthorization(split, consent, "")), 350);
    }

    /// The zero address signs nothing, though every broken signature recovers to it.
    function test_Authorization_OfNobodyIsRefused() external {
        parties[1].account = address(0);
        split = splitOf(address(usd), parties);
        (ShareProof memory proof,) = proofOf(1);
        vm.expectRevert(abi.encodeWithSelector(ISettlementSplitter.InvalidRecipient.selector, address(0)));
        splitter.claimFirst(split, parties[1], proof);
        ClaimAuthorization memory consent = ClaimAuthorization(splitKey(), 500, address(0), other, 0, START);
        refuseSignature(consent, abi.encodePacked(bytes32(0), bytes32(0), uint8(27)));
    }

    /* HELPERS */

    /// Registers party 1 and puts 1,000 into the pot.
    function consentOf(address recipient) internal returns (ClaimAuthorization memory) {
        if (pot() == 0) {
            claimFirst(1);
            fund(1000);
        }
        return ClaimAuthorization(
            splitKey(), 500, parties[1].account, recipient, splitter.nonces(parties[1].account), START + 1
        );
    }

    function refuseSignature(ClaimAuthorization memory consent, bytes memory signature) internal {
        bytes32 digest = digestOf(Plain.claimHash(consent));
        vm.assertEq(splitter.hashClaimAuthorization(consent), digest);
        vm.expectRevert(
            abi.encodeWithSelector(ISettlementSplitter.InvalidSignature.selector, consent.account, digest)
        );
        splitter.claimWithAuthorization(split, consent, signature);
    }

    function refuseUnregistered(uint256 offset, address account) internal {
        vm.expectRevert(
            abi.encodeWithSelector(ISettlementSplitter.NotRegistered.selector, splitKey(), offset, account)
        );
        splitter.claim(offset, account, split);
    }

    function assertStake(uint256 offset, address account, uint256 share, uint256 claimed) internal view {
        Stake memory found = splitter.stake(splitKey(), offset, account);
        vm.assertEq(uint256(found.share), share, "share");
        vm.assertEq(uint256(found.claimed), claimed, "claimed");
    }
}
