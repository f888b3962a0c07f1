// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ISettlementSplitter} from "../../../contracts/interfaces/ISettlementSplitter.sol";
import {
    BurningSigner,
    GarbageSigner,
    ListSigner,
    PairSigner,
    RevertingSigner
} from "../../../contracts/mocks/Signers.sol";
import {Line, Statement, Tariff} from "../../../contracts/types/Structs.sol";
import {Assets} from "../../../contracts/types/Units.sol";
import {Base} from "../support/Base.sol";
import {Plain} from "../support/Plain.sol";
import {vm} from "../support/Vm.sol";

contract SignaturesTest is Base {
    uint256 internal constant ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141;

    Line[] internal lines;

    function setUp() public override {
        super.setUp();
        deposit(payer, 1000);
        lines.push(lineOf(payer, 10));
    }

    /* ECDSA */

    function test_TamperedStatement_IsRefusedWhereverItIsTouched() external {
        bytes memory signature = signed(tariff, now64(), lines);
        Line[] memory touched = lines;
        touched[0].payer = other;
        refuse(signer, signature, now64(), tariff, touched);
        touched = lines;
        touched[0].usage = meter0(11);
        refuse(signer, signature, now64(), tariff, touched);
        touched = lines;
        touched[0].head = bytes32(0);
        refuse(signer, signature, now64(), tariff, touched);
        touched = new Line[](2);
        (touched[0], touched[1]) = (lines[0], lines[0]);
        refuse(signer, signature, now64(), tariff, touched);
        refuse(signer, signature, now64(), tariff, new Line[](0));
        refuse(signer, signature, now64() - 1, tariff, lines);
        vm.assertEq(balanceOf(payer), 1000);
    }

    function test_StatementOfAnotherTariff_IsRefused() external {
        bytes memory signature = signed(tariff, now64(), lines);
        Tariff memory dearer = tariff;
        dearer.scale = 5;
        depositUnder(dearer, split, payer, 1000);
        refuse(signer, signature, now64(), dearer, lines);
    }

    function test_StatementForAnotherDeployment_IsRefused() external {
        ISettlementSplitter twin = ISettlementSplitter(vm.deployCode("SettlementSplitter.sol"));
        bytes memory signature = signed(tariff, now64(), lines);
        vm.prank(provider);
        twin.setSigner(signer, type(uint64).max);
        vm.expectPartialRevert(ISettlementSplitter.InvalidSignature.selector);
        twin.settle(signer, signature, now64(), tariff, lines);
        splitter.settle(signer, signature, now64(), tariff, lines);
    }

    /// Also after a fork that changes the chain's id under a contract that is there already.
    function test_StatementForAnotherChain_IsRefused() external {
        bytes memory signature = signed(tariff, now64(), lines);
        vm.chainId(block.chainid + 1);
        refuse(signer, signature, now64(), tariff, lines);
        bytes memory here = signed(tariff, now64(), lines);
        splitter.settle(signer, here, now64(), tariff, lines);
    }

    function test_SignatureOfAnotherKey_IsRefused() external {
        refuse(signer, signedBy(99, now64(), lines), now64(), tariff, lines);
    }

    function test_MalleatedSignature_IsRefused() external {
        bytes memory signature = signed(tariff, now64(), lines);
        (bytes32 r, bytes32 s) = abi.decode(signature, (bytes32, bytes32));
        uint8 flipped = uint8(signature[64]) == 27 ? 28 : 27;
        bytes memory twin = abi.encodePacked(r, ORDER - uint256(s), flipped);
        refuse(signer, twin, now64(), tariff, lines);
        refuse(signer, abi.encodePacked(r, s, flipped), now64(), tariff, lines);
        refuse(signer, abi.encodePacked(r, s, uint8(signature[64]) - 27), now64(), tariff, lines);
        splitter.settle(signer, signature, now64(), tariff, lines);
    }

    function test_SignatureOfAnotherLength_IsRefused() external {
        bytes memory signature = signed(tariff, now64(), lines);
        refuse(signer, "", now64(), tariff, lines);
        refuse(signer, abi.encodePacked(signature, uint8(0)), now64(), tariff, lines);
        refuse(signer, abi.encodePacked(compact(signature), uint8(0), uint8(0)), now64(), tariff, lines);
    }

    /// EIP-2098: the same signature in 64 bytes. Its upper half is as malleable, and as much refused.
    function test_CompactSignature_IsAccepted() external {
        bytes memory signature = compact(signed(tariff, now64(), lines));
        (bytes32 r, uint256 vs) = abi.decode(signature, (bytes32, uint256));
        uint256 parity = vs >> 255;
        uint256 high = ORDER - (vs << 1 >> 1);
        refuse(signer, abi.encodePacked(r, high | (1 - parity) << 255), now64(), tariff, lines);
        refuse(signer, abi.encodePacked(r, vs ^ (1 << 255)), now64(), tariff, lines);
        refuse(signer, abi.encodePacked(r, bytes32(0)), now64(), tariff, lines);
        refuse(signer, compact(signedBy(99, now64(), lines)), now64(), tariff, lines);
        splitter.settle(signer, signature, now64(), tariff, lines);
        assertAccount(payer, 990, 10, START);
    }

    /* ONE LINE */

    function test_SettleOne_IsSettleOfOneLine() external {
        (bytes32 r, bytes32 vs) = words(signed(tariff, now64(), lines));
        vm.expectEmit(address(splitter));
        emit ISettlementSplitter.Settled(id(), payer, lines[0].usage, lines[0].head, sealedDraw(START, 10));
        vm.assertEq(Assets.unwrap(splitter.settleOne(lines[0], signer, r, vs, tariff, now64())), 10);
        assertAccount(payer, 990, 10, START);
        vm.assertEq(pot(), 10);
        vm.assertEq(settle(now64(), lines), 0);
    }

    function test_SettleOne_RefusesWhatSettleRefuses() external {
        (bytes32 r, bytes32 vs) = words(signed(tariff, now64(), lines));
        bytes32 digest_ = digest();
        bytes memory refusal =
            abi.encodeWithSelector(ISettlementSplitter.InvalidSignature.selector, signer, digest_);
        vm.expectRevert(refusal);
        splitter.settleOne(lines[0], signer, r, vs ^ bytes32(uint256(1 << 255)), tariff, now64());
        vm.expectRevert(refusal);
        splitter.settleOne(lines[0], signer, vs, r, tariff, now64());
        vm.expectPartialRevert(ISettlementSplitter.InvalidSignature.selector);
        splitter.settleOne(lines[0], signer, r, vs, tariff, now64() - 1);
        vm.expectPartialRevert(ISettlementSplitter.SealedInFuture.selector);
        splitter.settleOne(lines[0], signer, r, vs, tariff, now64() + 1);
        vm.expectPartialRevert(ISettlementSplitter.SignerNotAuthorized.selector);
        splitter.settleOne(lines[0], other, r, vs, tariff, now64());
        vm.expectPartialRevert(ISettlementSplitter.ScaleTooLarge.selector);
        Tariff memory wrong = tariff;
        wrong.scale = 37;
        splitter.settleOne(lines[0], signer, r, vs, wrong, now64());
        Line memory touched = lines[0];
        touched.payer = other;
        vm.expectPartialRevert(ISettlementSplitter.InvalidSignature.selector);
        splitter.settleOne(touched, signer, r, vs, tariff, now64());
        setSigner(signer, 0);
        vm.expectPartialRevert(ISettlementSplitter.SignerNotAuthorized.selector);
        splitter.settleOne(lines[0], signer, r, vs, tariff, now64());
        vm.assertEq(balanceOf(payer), 1000);
    }

    /// Whatever it would accept: `settleOne` asks no contract.
    function test_SettleOne_AsksNoContract() external {
        ListSigner meter = new ListSigner();
        setSigner(address(meter), type(uint64).max);
        meter.accept(digest(), true);
        vm.expectPartialRevert(ISettlementSplitter.InvalidSignature.selector);
        splitter.settleOne(lines[0], address(meter), bytes32(0), bytes32(0), tariff, now64());
        splitter.settle(address(meter), "", now64(), tariff, lines);
    }

    function test_SettleOne_SkipsWhatIsOlder() external {
        settle(now64(), lines);
        (bytes32 r, bytes32 vs) = words(signed(tariff, now64() - 1, lines));
        vm.expectEmit(address(splitter));
        emit ISettlementSplitter.Skipped(id(), payer, now64() - 1, uint32(START));
        vm.assertEq(Assets.unwrap(splitter.settleOne(lines[0], signer, r, vs, tariff, now64() - 1)), 0);
    }

    /// A signature that recovers to nobody is nobody's, and the zero address cannot be made a signer.
    function test_ZeroAddressRecovery_IsRefused() external {
        bytes memory nobody = abi.encodePacked(bytes32(0), bytes32(0), uint8(27));
        vm.expectRevert(
            abi.encodeWithSelector(
                ISettlementSplitter.SignerNotAuthorized.selector, provider, address(0), now64(), uint64(0)
            )
        );
        splitter.settle(address(0), nobody, now64(), tariff, lines);
        refuse(signer, nobody, now64(), tariff, lines);
    }

    /// EIP-7702: an account with code still signs with its key, whatever the code says.
    function test_SignerUnderDelegation_StillSignsWithItsKey() external {
        vm.etch(signer, address(new RevertingSigner()).code);
        vm.assertEq(settle(now64(), lines), 10);
        refuse(signer, signedBy(99, now64(), lines), now64(), tariff, lines);
        vm.etch(signer, abi.encodePacked(hex"ef0100", address(new RevertingSigner())));
        vm.warp(START + 1);
        vm.assertEq(settle(now64(), linesOf(payer, 15)), 5);
    }

    /* ERC-1271 */

    function test_ContractSigner_SignsByAcceptingTheDigest() external {
        ListSigner meter = new ListSigner();
        setSigner(address(meter), type(uint64).max);
        refuse(address(meter), "anything", now64(), tariff, lines);
        meter.accept(digest(), true);
        splitter.settle(address(meter), "anything", now64(), tariff, lines);
        assertAccount(payer, 990, 10, START);
    }

    function test_ContractSignerThatChangesItsMind_IsRefusedFromThenOn() external {
        ListSigner meter = new ListSigner();
        setSigner(address(meter), type(uint64).max);
        meter.accept(digest(), true);
        splitter.settle(address(meter), "", now64(), tariff, lines);
        meter.accept(digest(), false);
        refuse(address(meter), "", now64(), tariff, lines);
        assertAccount(payer, 990, 10, START);
    }

    function test_PairOfMeterAndPayer_NeedsBoth() external {
        PairSigner pair = new PairSigner(signer, vm.addr(2));
        setSigner(address(pair), type(uint64).max);
        bytes memory first = signed(tariff, now64(), lines);
        bytes memory second = signedBy(2, now64(), lines);
        refuse(address(pair), first, now64(), tariff, lines);
        refuse(address(pair), bytes.concat(second, first), now64(), tariff, lines);
        splitter.settle(address(pair), bytes.concat(first, second), now64(), tariff, lines);
        assertAccount(payer, 990, 10, START);
    }

    function test_ContractSignerThatReverts_IsRefused() external {
        RevertingSigner meter = new RevertingSigner();
        setSigner(address(meter), type(uint64).max);
        refuse(address(meter), "", now64(), tariff, lines);
    }

    function test_ContractSignerThatBurnsGas_IsRefused() external {
        BurningSigner meter = new BurningSigner();
        setSigner(address(meter), type(uint64).max);
        bytes memory refusal = refusalOf(address(meter), now64(), tariff, lines);
        vm.expectRevert(refusal);
        splitter.settle{gas: 10_000_000}(address(meter), "", now64(), tariff, lines);
    }

    function test_ContractSignerThatReturnsGarbage_IsRefused() external {
        GarbageSigner meter = new GarbageSigner();
        setSigner(address(meter), type(uint64).max);
        bytes[6] memory answers = [
            bytes(""),
            hex"1626ba7e",
            hex"01",
            abi.encode(true),
            abi.encodePacked(bytes4(0x1626ba7e), bytes28(type(uint224).max)),
            abi.encode(uint256(0x1626ba7e))
        ];
        for (uint256 i = 0; i < answers.length; ++i) {
            meter.say(answers[i]);
            refuse(address(meter), "", now64(), tariff, lines);
        }
        meter.say(abi.encodePacked(bytes4(0x1626ba7e), bytes28(0)));
        splitter.settle(address(meter), "", now64(), tariff, lines);
    }

    /// An address without code accepts nothing: an empty answer is no consent.
    function test_SignerWithoutCode_AcceptsNothing() external {
        setSigner(address(0xDEAD), type(uint64).max);
        refuse(address(0xDEAD), "", now64(), tariff, lines);
        // The identity precompile answers with what it was asked.
        setSigner(address(4), type(uint64).max);
        refuse(address(4), "", now64(), tariff, lines);
    }

    /* HELPERS */

    /// The 65 bytes of a key's signature in the 64 of EIP-2098.
    function compact(bytes memory signature) internal pure returns (bytes memory) {
        (bytes32 r, uint256 s) = abi.decode(signature, (bytes32, uint256));
        return abi.encodePacked(r, s | uint256(uint8(signature[64]) - 27) << 255);
    }

    function words(bytes memory signature) internal pure returns (bytes32, bytes32) {
        return abi.decode(compact(signature), (bytes32, bytes32));
    }

    function digest() internal view returns (bytes32) {
        return digestOf(Plain.statementHash(id(), now64(), lines));
    }

    function refusalOf(address who, uint64 sealedAt, Tariff memory under, Line[] memory given)
        internal
        view
        returns (bytes memory)
    {
        bytes32 expected = digestOf(Plain.statementHash(Plain.tariffId(under), sealedAt, given));
        return abi.encodeWithSelector(ISettlementSplitter.InvalidSignature.selector, who, expected);
    }

    function refuse(
        address who,
        bytes memory signature,
        uint64 sealedAt,
        Tariff memory under,
        Line[] memory given
    ) internal {
        bytes memory refusal = refusalOf(who, sealedAt, under, given);
        vm.expectRevert(refusal);
        splitter.settle(who, signature, sealedAt, under, given);
    }
}
