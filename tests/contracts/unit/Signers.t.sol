// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ISettlementSplitter} from "../../../contracts/interfaces/ISettlementSplitter.sol";
import {Line} from "../../../contracts/types/Structs.sol";
import {Base} from "../support/Base.sol";
import {vm} from "../support/Vm.sol";

contract SignersTest is Base {
    function test_SetSigner_StoresAndEmits() external {
        vm.expectEmit(address(splitter));
        emit ISettlementSplitter.SignerSet(other, address(7), 123);
        vm.prank(other);
        splitter.setSigner(address(7), 123);
        vm.assertEq(uint256(splitter.signerUntil(other, address(7))), 123);
        vm.assertEq(uint256(splitter.signerUntil(provider, address(7))), 0);
        vm.assertEq(uint256(splitter.signerUntil(other, address(8))), 0);
    }

    function test_SetSigner_RefusesTheZeroAddress() external {
        vm.expectRevert(abi.encodeWithSelector(ISettlementSplitter.ZeroSigner.selector));
        splitter.setSigner(address(0), 1);
    }

    function test_UnknownSigner_IsRefused() external {
        vm.warp(START);
        refused(vm.addr(99), 99, now64(), 0);
    }

    function test_SignerOfAnotherProvider_IsRefused() external {
        address theirs = vm.addr(99);
        vm.prank(other);
        splitter.setSigner(theirs, type(uint64).max);
        refused(theirs, 99, now64(), 0);
    }

    function test_RetiredKey_KeepsWhatItSealed() external {
        deposit(payer, 1000);
        uint64 retired = now64();
        setSigner(signer, retired);
        vm.warp(START + 1 days);
        vm.assertEq(settle(retired, linesOf(payer, 10)), 10);
        refused(signer, SIGNER_KEY, retired + 1, retired);
    }

    /// A retired key can still date a statement before its end; what the account settled since shuts it out.
    function test_RetiredKeyThatBackdates_IsSkippedBehindNewerStatements() external {
        deposit(payer, 1000);
        uint64 retired = now64();
        setSigner(signer, retired);
        uint256 successor = 77;
        setSigner(vm.addr(successor), type(uint64).max);
        vm.warp(START + 1 days);
        settleWith(successor, now64(), linesOf(payer, 10));

        vm.expectEmit(address(splitter));
        emit ISettlementSplitter.Skipped(id(), payer, retired, uint32(block.timestamp));
        vm.assertEq(settle(retired, linesOf(payer, 1000)), 0);
        assertAccount(payer, 990, 10, block.timestamp);
    }

    function test_RevokedKey_LosesWhatItSealedBefore() external {
        deposit(payer, 1000);
        setSigner(signer, 0);
        refused(signer, SIGNER_KEY, now64() - 1 days, 0);
    }

    function test_SignerRevokedInTheBlockBefore_IsRefused() external {
        deposit(payer, 1000);
        uint64 sealedAt = now64();
        Line[] memory lines = linesOf(payer, 10);
        bytes memory signature = signed(tariff, sealedAt, lines);
        setSigner(signer, 0);
        vm.warp(START + 12);
        vm.expectRevert(
            abi.encodeWithSelector(
                ISettlementSplitter.SignerNotAuthorized.selector, provider, signer, sealedAt, uint64(0)
            )
        );
        splitter.settle(signer, signature, sealedAt, tariff, lines);
        assertAccount(payer, 1000, 0, 0);
    }

    function settleWith(uint256 key, uint64 sealedAt, Line[] memory lines) internal {
        (address saved, bytes memory signature) = (vm.addr(key), signedBy(key, sealedAt, lines));
        splitter.settle(saved, signature, sealedAt, tariff, lines);
    }

    function refused(address who, uint256 key, uint64 sealedAt, uint64 until) internal {
        Line[] memory lines = linesOf(payer, 10);
        bytes memory signature = signedBy(key, sealedAt, lines);
        vm.expectRevert(
            abi.encodeWithSelector(
                ISettlementSplitter.SignerNotAuthorized.selector, provider, who, sealedAt, until
            )
        );
        splitter.settle(who, signature, sealedAt, tariff, lines);
    }
}
