// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ISettlementSplitter} from "../../../contracts/interfaces/ISettlementSplitter.sol";
import {Line, Party, ShareProof, Split} from "../../../contracts/types/Structs.sol";
import {Assets} from "../../../contracts/types/Units.sol";
import {Base} from "../support/Base.sol";
import {vm} from "../support/Vm.sol";

contract BatchesTest is Base {
    function test_Multicall_ActsInTheCallersName() external {
        usd.mint(payer, 1000);
        vm.startPrank(payer);
        usd.approve(address(splitter), 1000);
        bytes[] memory calls = new bytes[](3);
        calls[0] = abi.encodeCall(ISettlementSplitter.deposit, (tariff, split, payer, Assets.wrap(1000)));
        calls[1] = abi.encodeCall(ISettlementSplitter.thaw, (tariff, Assets.wrap(400)));
        calls[2] = abi.encodeCall(ISettlementSplitter.account, (id(), payer));
        bytes[] memory results = splitter.multicall(calls);
        vm.stopPrank();
        vm.assertEq(abi.decode(results[0], (uint256)), 1000);
        vm.assertEq(results[1].length, 0);
        vm.assertEq(results[2], abi.encode(1000, 0, 0));
        vm.assertEq(uint256(splitter.thawing(id(), payer).amount), 400);
    }

    function test_Multicall_FailsAsAWholeWithTheFirstReason() external {
        bytes[] memory calls = new bytes[](2);
        calls[0] = abi.encodeCall(ISettlementSplitter.setSigner, (other, 5));
        calls[1] = abi.encodeCall(ISettlementSplitter.setSigner, (address(0), 5));
        vm.expectRevert(abi.encodeWithSelector(ISettlementSplitter.ZeroSigner.selector));
        splitter.multicall(calls);
        vm.assertEq(uint256(splitter.signerUntil(address(this), other)), 0);
    }

    function test_Multicall_OfAnUnknownFunctionIsRefused() external {
        bytes[] memory calls = new bytes[](1);
        calls[0] = hex"deadbeef";
        vm.expectRevert(bytes(""));
        splitter.multicall(calls);
    }

    function test_Multicall_ClaimsFromManySplitsAtOnce() external {
        bytes[] memory calls = new bytes[](10);
        uint256 expected = 0;
        for (uint256 i = 0; i < calls.length; ++i) {
            parties[0].share = uint128(500 + i);
            split = splitOf(address(usd), parties);
            fund(1000);
            (ShareProof memory proof,) = proofOf(0);
            calls[i] = abi.encodeCall(ISettlementSplitter.claimFirst, (split, parties[0], proof));
            expected += 1000 * uint256(500 + i) / (1000 + i);
        }
        splitter.multicall(calls);
        vm.assertEq(usd.balanceOf(parties[0].account), expected);
    }

    function test_Multicall_NestsAndTakesNoEther() external {
        bytes[] memory inner = new bytes[](1);
        inner[0] = abi.encodeCall(ISettlementSplitter.setSigner, (other, 5));
        bytes[] memory outer = new bytes[](1);
        outer[0] = abi.encodeCall(ISettlementSplitter.multicall, (inner));
        splitter.multicall(outer);
        vm.assertEq(uint256(splitter.signerUntil(address(this), other)), 5);
        (bool success,) =
            address(splitter).call{value: 1}(abi.encodeCall(ISettlementSplitter.multicall, (outer)));
        vm.assertFalse(success);
        (success,) = address(splitter).call{value: 1}("");
        vm.assertFalse(success);
    }
}
