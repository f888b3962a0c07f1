// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ISettlementSplitter} from "../../../contracts/interfaces/ISettlementSplitter.sol";
import {TestUSD} from "../../../contracts/mocks/TestUSD.sol";
import {
    Account,
    ClaimAuthorization,
    Line,
    Party,
    ShareProof,
    Split,
    Stake,
    Statement,
    Tariff,
    Thaw
} from "../../../contracts/types/Structs.sol";
import {Assets, RateLanes, SealedDraw, StakePayment, UsageLanes} from "../../../contracts/types/Units.sol";
import {Plain} from "./Plain.sol";
import {vm} from "./Vm.sol";

/// A splitter with one token, one split of three parties and one tariff, where one unit of meter 0 costs one base unit.
abstract contract Base {
    uint256 internal constant START = 1_800_000_000;
    uint32 internal constant THAW_PERIOD = 7 days;
    uint256 internal constant SIGNER_KEY = 0x51671E5;

    ISettlementSplitter internal splitter;
    TestUSD internal usd;

    address internal provider = address(0xA110);
    address internal payer = address(0xBA1E);
    address internal other = address(0x07E5);
    address internal signer = vm.addr(SIGNER_KEY);

    Party[] internal parties;
    Split internal split;
    Tariff internal tariff;

    function setUp() public virtual {
        vm.warp(START);
        splitter = ISettlementSplitter(vm.deployCode("SettlementSplitter.sol"));
        usd = new TestUSD();
        parties.push(Party(address(0xA1), 1, 500));
        parties.push(Party(address(0xA2), 2, 350));
        parties.push(Party(address(0xA3), 3, 150));
        split = splitOf(address(usd), parties);
        tariff = tariffOf(split);
        setSigner(signer, type(uint64).max);
    }

    /* BUILDING */

    function splitOf(address asset, Party[] memory members) internal pure returns (Split memory) {
        (bytes32 root, uint256 total) = Plain.tree(members, 0, members.length);
        return Split(asset, root, uint128(total));
    }

    function tariffOf(Split memory target) internal view returns (Tariff memory result) {
        result.provider = provider;
        result.splitId = Plain.splitId(target);
        result.rates = Plain.rates([uint256(1_000_000), 2_000_000, 0, 0, 3, 0, 0, 5]);
        result.scale = 6;
        result.thawPeriod = THAW_PERIOD;
        result.terms = keccak256("terms");
    }

    function meter0(int64 amount) internal pure returns (UsageLanes[2] memory) {
        return Plain.usage([amount, int64(0), 0, 0, 0, 0, 0, 0]);
    }

    function lineOf(address who, int64 amount) internal pure returns (Line memory) {
        return Line(who, meter0(amount), keccak256(abi.encode(who, amount)));
    }

    function linesOf(address who, int64 amount) internal pure returns (Line[] memory lines) {
        lines = new Line[](1);
        lines[0] = lineOf(who, amount);
    }

    function proofOf(uint256 index) internal view returns (ShareProof memory proof, uint256 offset) {
        return Plain.proof(parties, index);
    }

    function id() internal view returns (bytes32) {
        return Plain.tariffId(tariff);
    }

    function splitKey() internal view returns (bytes32) {
        return Plain.splitId(split);
    }

    function sealedDraw(uint256 sealedAt, uint256 drawn) internal pure returns (SealedDraw) {
        return SealedDraw.wrap(sealedAt * 2 ** 224 + drawn);
    }

    function payment(uint256 offset, uint256 amount) internal pure returns (StakePayment) {
        return StakePayment.wrap(offset * 2 ** 128 + amount);
    }

    /* SIGNING */

    function sign(uint256 key, bytes32 structHash) internal view returns (bytes memory) {
        bytes32 domain = Plain.domainSeparator(block.chainid, address(splitter));
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, Plain.digest(domain, structHash));
        return abi.encodePacked(r, s, v);
    }

    function signed(Tariff memory under, uint64 sealedAt, Line[] memory lines)
        internal
        view
        returns (bytes memory)
    {
        return sign(SIGNER_KEY, Plain.statementHash(Plain.tariffId(under), sealedAt, lines));
    }

    function signedBy(uint256 key, uint64 sealedAt, Line[] memory lines)
        internal
        view
        returns (bytes memory)
    {
        return sign(key, Plain.statementHash(id(), sealedAt, lines));
    }

    function digestOf(bytes32 structHash) internal view returns (bytes32) {
        return Plain.digest(Plain.domainSeparator(block.chainid, address(splitter)), structHash);
    }

    /* ACTING */

    function setSigner(address who, uint64 until) internal {
        vm.prank(provider);
        splitter.setSigner(who, until);
    }

    function deposit(address who, uint256 amount) internal returns (uint256) {
        return depositUnder(tariff, split, who, amount);
    }

    function depositUnder(Tariff memory under, Split memory target, address who, uint256 amount)
        internal
        returns (uint256 arrived)
    {
        TestUSD(target.asset).mint(who, amount);
        vm.startPrank(who);
        // Some tokens return nothing from it.
        (bool approved,) = target.asset.call(abi.encodeCall(usd.approve, (address(splitter), amount)));
        vm.assertTrue(approved);
        arrived = Assets.unwrap(splitter.deposit(under, target, who, Assets.wrap(amount)));
        vm.stopPrank();
    }

    function settle(uint64 sealedAt, Line[] memory lines) internal returns (uint256) {
        return settleUnder(tariff, sealedAt, lines);
    }

    function settleUnder(Tariff memory under, uint64 sealedAt, Line[] memory lines)
        internal
        returns (uint256)
    {
        bytes memory signature = signed(under, sealedAt, lines);
        return Assets.unwrap(splitter.settle(signer, signature, sealedAt, under, lines));
    }

    function thaw(address who, uint256 amount) internal {
        vm.prank(who);
        splitter.thaw(tariff, Assets.wrap(amount));
    }

    function withdraw(address who) internal returns (uint256) {
        vm.prank(who);
        return Assets.unwrap(splitter.withdraw(tariff, split));
    }

    function claimFirst(uint256 index) internal returns (uint256) {
        (ShareProof memory proof,) = proofOf(index);
        return Assets.unwrap(splitter.claimFirst(split, parties[index], proof));
    }

    function fund(uint256 amount) internal {
        usd.mint(address(this), amount);
        usd.approve(address(splitter), amount);
        splitter.fund(split, Assets.wrap(amount));
    }

    /* LOOKING */

    function balanceOf(address who) internal view returns (uint256) {
        return splitter.account(id(), who).balance;
    }

    function settledOf(address who) internal view returns (uint256) {
        return splitter.account(id(), who).settled;
    }

    function pot() internal view returns (uint256) {
        return Assets.unwrap(splitter.pot(splitKey()));
    }

    function now64() internal view returns (uint64) {
        return uint64(block.timestamp);
    }

    function assertAccount(address who, uint256 balance, uint256 settled, uint256 sealedAt) internal view {
        Account memory found = splitter.account(id(), who);
        vm.assertEq(uint256(found.balance), balance, "balance");
        vm.assertEq(uint256(found.settled), settled, "settled");
        vm.assertEq(uint256(found.sealedAt), sealedAt, "sealedAt");
    }
}
