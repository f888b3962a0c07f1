// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC3009} from "@openzeppelin/contracts/interfaces/draft-IERC3009.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";

import {ISettlementSplitter} from "./interfaces/ISettlementSplitter.sol";
import {Accounts} from "./libraries/Accounts.sol";
import {ClaimHash} from "./libraries/ClaimHash.sol";
import {Ids} from "./libraries/Ids.sol";
import {Lines} from "./libraries/Lines.sol";
import {Pricing} from "./libraries/Pricing.sol";
import {ShareTree} from "./libraries/ShareTree.sol";
import {Shares} from "./libraries/Shares.sol";
import {Signatures} from "./libraries/Signatures.sol";
import {StatementHash} from "./libraries/StatementHash.sol";
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
} from "./types/Structs.sol";
import {Assets, RateLanes, StakePayment, UsageLanes} from "./types/Units.sol";

/// @title SettlementSplitter
/// @notice The only contract that holds money. See the interface for what each function promises.
contract SettlementSplitter is ISettlementSplitter, EIP712, ReentrancyGuardTransient {
    using Accounts for Account;
    using Lines for Line;
    using Lines for Line[];
    using Ids for Split;
    using Ids for Tariff;
    using SafeERC20 for IERC20;

    uint256 private constant MAX_SCALE = 36;
    uint256 private constant MAX_THAW_PERIOD = 90 days;
    uint256 private constant MAX_LINES = 1000;

    /// @dev A struct, so that reading and writing it computes its place once.
    struct Pot {
        uint256 total;
    }

    mapping(address provider => mapping(address signer => uint64)) private _signerUntil;
    mapping(bytes32 tariffId => mapping(address payer => Account)) private _accounts;
    mapping(bytes32 tariffId => mapping(address payer => Thaw)) private _thaws;
    mapping(bytes32 splitId => Pot) private _pots;
    /// @dev By `Ids.stakeKey` of split, offset and account.
    mapping(bytes32 stakeKey => Stake) private _stakes;
    mapping(address account => uint256) private _nonces;

    /// @dev For what writes the books before it calls a token: it may not run in the middle of what does not.
    modifier whenUnlocked() {
        require(!_reentrancyGuardEntered(), ReentrancyGuardReentrantCall());
        _;
    }

    constructor() EIP712("Meterbridge", "1") {}

    /* SIGNERS */

    /// @inheritdoc ISettlementSplitter
    function setSigner(address signer, uint64 until) external {
        require(signer != address(0), ZeroSigner());
        _signerUntil[msg.sender][signer] = until;
        emit SignerSet(msg.sender, signer, until);
    }

    /* PUBLISHING */

    /// @inheritdoc ISettlementSplitter
    function publishSplit(Split calldata split, Party[] calldata parties) external {
        (bytes32 root, uint256 total) = ShareTree.root(parties);
        _checkTree(split, root, total);
        emit SplitPublished(split.id(), split, parties);
    }

    /// @inheritdoc ISettlementSplitter
    function announceSplit(Split calldata split, string calldata uri) external {
        emit SplitAnnounced(split.id(), split, uri);
    }

    /// @inheritdoc ISettlementSplitter
    function publishTariff(Tariff calldata tariff, bytes calldata document) external {
        bytes32 id = _checkTariff(tariff);
        bytes32 actual = keccak256(document);
        require(actual == tariff.terms, TermsMismatch(tariff.terms, actual));
        emit TariffPublished(id, tariff, document);
    }

    /* ESCROW */

    /// @inheritdoc ISettlementSplitter
    function deposit(Tariff calldata tariff, Split calldata split, address payer, Assets amount)
        external
        nonReentrant
        returns (Assets arrived)
    {
        bytes32 id = _checkDeposit(tariff, split, payer);
        arrived = _pull(split.asset, amount);
        _credit(id, tariff, split, payer, msg.sender, arrived);
    }

    /// @inheritdoc ISettlementSplitter
    function depositWithPermit(
        Tariff calldata tariff,
        Split calldata split,
        address payer,
        Assets amount,
        uint256 deadline,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external nonReentrant returns (Assets arrived) {
        bytes32 id = _checkDeposit(tariff, split, payer);
        // A permit that fails was used already, and left its allowance, or the transfer below fails.
        try IERC20Permit(split.asset)
            .permit(msg.sender, address(this), Assets.unwrap(amount), deadline, v, r, s) {}
            catch {}
        arrived = _pull(split.asset, amount);
        _credit(id, tariff, split, payer, msg.sender, arrived);
    }

    /// @inheritdoc ISettlementSplitter
    function depositWithAuthorization(
        Tariff calldata tariff,
        Split calldata split,
        address payer,
        Assets amount,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 salt,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external nonReentrant returns (Assets arrived) {
        bytes32 id = _checkDeposit(tariff, split, payer);
        uint256 before = _held(split.asset);
        bytes32 nonce = keccak256(abi.encode(id, salt));
        IERC3009(split.asset)
            .receiveWithAuthorization(
                payer, address(this), Assets.unwrap(amount), validAfter, validBefore, nonce, v, r, s
            );
        arrived = _arrivedSince(split.asset, before);
        _credit(id, tariff, split, payer, payer, arrived);
    }

    /// @inheritdoc ISettlementSplitter
    function thaw(Tariff calldata tariff, Assets amount) external {
        bytes32 id = tariff.id();
        uint256 balance = _accounts[id][msg.sender].balance;
        uint256 wanted = Assets.unwrap(amount);
        require(wanted <= balance, ThawExceedsBalance(wanted, balance));
        Thaw memory current = _thaws[id][msg.sender];
        // Where less than the thaw is left, nothing that is left can raise it.
        bool raised = wanted > current.amount;
        uint64 end = raised ? uint64(block.timestamp + tariff.thawPeriod) : current.end;
        _setThaw(id, msg.sender, wanted, end);
    }

    /// @inheritdoc ISettlementSplitter
    function withdraw(Tariff calldata tariff, Split calldata split)
        external
        nonReentrant
        returns (Assets amount)
    {
        bytes32 id = tariff.id();
        _checkSplit(split, tariff.splitId);
        Thaw memory matured = _thaws[id][msg.sender];
        require(matured.amount != 0, NothingThawing(id, msg.sender));
        require(block.timestamp >= matured.end, StillThawing(matured.end));

        Account storage escrow = _accounts[id][msg.sender];
        uint256 paid = _min(matured.amount, escrow.balance);
        delete _thaws[id][msg.sender];
        // forge-lint: disable-next-line(unsafe-typecast) at most the balance
        escrow.balance -= uint112(paid);
        amount = Assets.wrap(paid);
        emit Withdrawn(id, msg.sender, amount);
        if (paid != 0) IERC20(split.asset).safeTransfer(msg.sender, paid);
    }

    /* SETTLEMENT */

    /// @inheritdoc ISettlementSplitter
    function settle(
        address signer,
        bytes calldata signature,
        uint64 sealedAt,
        Tariff calldata tariff,
        Line[] calldata lines
    ) external returns (Assets drawn) {
        (bytes32 id, bytes32 digest) = _checkStatement(tariff, sealedAt, lines, signer);
        require(Signatures.isBy(signer, digest, signature), InvalidSignature(signer, digest));
        return _drawAll(id, tariff, sealedAt, lines);
    }

    /// @inheritdoc ISettlementSplitter
    function settleOne(
        Line calldata line,
        address signer,
        bytes32 r,
        bytes32 vs,
        Tariff calldata tariff,
        uint64 sealedAt
    ) external returns (Assets drawn) {
        Line[] calldata lines = line.alone();
        (bytes32 id, bytes32 digest) = _checkStatement(tariff, sealedAt, lines, signer);
        require(Signatures.isByKey(signer, digest, r, vs), InvalidSignature(signer, digest));
        return _drawAll(id, tariff, sealedAt, lines);
    }

    /// @inheritdoc ISettlementSplitter
    function fund(Split calldata split, Assets amount) external nonReentrant returns (Assets arrived) {
        require(split.totalShares != 0, ZeroTotalShares());
        arrived = _pull(split.asset, amount);
        bytes32 id = split.id();
        _allocate(id, Assets.unwrap(arrived));
        emit Funded(id, msg.sender, arrived);
    }

    /* CLAIMS */

    /// @inheritdoc ISettlementSplitter
    function claimFirst(Split calldata split, Party calldata party, ShareProof calldata proof)
        external
        whenUnlocked
        returns (Assets amount)
    {
        address holder = party.account;
        _checkRecipient(holder);
        (bytes32 root, uint256 total, uint256 offset) = ShareTree.climb(party, proof);
        _checkTree(split, root, total);
        _register(split.id(), party, offset);
        return _claim(split, offset, holder, holder);
    }

    /// @inheritdoc ISettlementSplitter
    function claim(uint256 offset, address holder, Split calldata split)
        external
        whenUnlocked
        returns (Assets amount)
    {
        return _claim(split, offset, holder, holder);
    }

    /// @inheritdoc ISettlementSplitter
    function claimTo(Split calldata split, uint256 offset, address recipient)
        external
        whenUnlocked
        returns (Assets amount)
    {
        _checkRecipient(recipient);
        return _claim(split, offset, msg.sender, recipient);
    }

    /// @inheritdoc ISettlementSplitter
    function claimWithAuthorization(
        Split calldata split,
        ClaimAuthorization calldata authorization,
        bytes calldata signature
    ) external whenUnlocked returns (Assets amount) {
        _checkSplit(split, authorization.splitId);
        require(
            block.timestamp <= authorization.deadline,
            AuthorizationExpired(authorization.deadline, block.timestamp)
        );
        address holder = authorization.account;
        uint256 expected = _nonces[holder]++;
        require(authorization.nonce == expected, InvalidNonce(holder, expected, authorization.nonce));
        bytes32 digest = _hashTypedDataV4(ClaimHash.hash(authorization));
        require(Signatures.isBy(holder, digest, signature), InvalidSignature(holder, digest));
        _checkRecipient(authorization.recipient);
        uint256 offset = authorization.offset;
        amount = _claim(split, offset, holder, authorization.recipient);
        // Nobody may use up a consent while there is nothing to pay.
        require(Assets.unwrap(amount) != 0, NothingToClaim(authorization.splitId, offset, holder));
    }

    /* BATCHES */

    /// @inheritdoc ISettlementSplitter
    function multicall(bytes[] calldata calls) external returns (bytes[] memory results) {
        results = new bytes[](calls.length);
        for (uint256 i = 0; i < calls.length; ++i) {
            // Safe in a loop: no function here takes ether, so none can count the same ether twice.
            (bool success, bytes memory result) = address(this).delegatecall(calls[i]);
            if (!success) _revertWith(result);
            results[i] = result;
        }
    }

    /* VIEWS */

    /// @inheritdoc ISettlementSplitter
    function account(bytes32 id, address payer) external view returns (Account memory) {
        return _accounts[id][payer];
    }

    /// @inheritdoc ISettlementSplitter
    function thawing(bytes32 id, address payer) external view returns (Thaw memory) {
        return _thaws[id][payer];
    }

    /// @inheritdoc ISettlementSplitter
    function secured(Tariff calldata tariff, address payer, uint256 until) external view returns (Assets) {
        if (until > block.timestamp + tariff.thawPeriod) return Assets.wrap(0);
        if (until < block.timestamp) until = block.timestamp;
        bytes32 id = tariff.id();
        uint256 balance = _accounts[id][payer].balance;
        Thaw memory current = _thaws[id][payer];
        return Assets.wrap(current.end < until ? balance - _min(current.amount, balance) : balance);
    }

    /// @inheritdoc ISettlementSplitter
    function pot(bytes32 id) external view returns (Assets) {
        return Assets.wrap(_pots[id].total);
    }

    /// @inheritdoc ISettlementSplitter
    function stake(bytes32 id, uint256 offset, address holder) external view returns (Stake memory) {
        return _stakes[Ids.stakeKey(id, offset, holder)];
    }

    /// @inheritdoc ISettlementSplitter
    function entitled(Split calldata split, uint128 share) external view returns (Assets) {
        require(split.totalShares != 0, ZeroTotalShares());
        return Assets.wrap(Shares.entitledDown(_pots[split.id()].total, share, split));
    }

    /// @inheritdoc ISettlementSplitter
    function claimable(Split calldata split, uint256 offset, address holder) external view returns (Assets) {
        bytes32 id = split.id();
        Stake memory held = _stakes[Ids.stakeKey(id, offset, holder)];
        if (held.share == 0) return Assets.wrap(0);
        return Assets.wrap(Shares.entitledDown(_pots[id].total, held.share, split) - held.claimed);
    }

    /// @inheritdoc ISettlementSplitter
    function price(Tariff calldata tariff, UsageLanes[2] calldata usage) external pure returns (Assets) {
        _checkTariff(tariff);
        return Pricing.priceDown(tariff.rates, 10 ** tariff.scale, usage);
    }

    /// @inheritdoc ISettlementSplitter
    function signerUntil(address provider, address signer) external view returns (uint64) {
        return _signerUntil[provider][signer];
    }

    /// @inheritdoc ISettlementSplitter
    function nonces(address holder) external view returns (uint256) {
        return _nonces[holder];
    }

    /// @inheritdoc ISettlementSplitter
    function tariffId(Tariff calldata tariff) external pure returns (bytes32) {
        return tariff.id();
    }

    /// @inheritdoc ISettlementSplitter
    function splitId(Split calldata split) external pure returns (bytes32) {
        return split.id();
    }

    /// @inheritdoc ISettlementSplitter
    function hashStatement(Statement calldata statement) external view returns (bytes32) {
        return _hashTypedDataV4(StatementHash.hash(statement.tariffId, statement.sealedAt, statement.lines));
    }

    /// @inheritdoc ISettlementSplitter
    function hashClaimAuthorization(ClaimAuthorization calldata authorization)
        external
        view
        returns (bytes32)
    {
        return _hashTypedDataV4(ClaimHash.hash(authorization));
    }

    /* CHECKS */

    function _checkTariff(Tariff calldata tariff) private pure returns (bytes32 id) {
        id = tariff.id();
        (uint256 scale, uint256 thawPeriod) = (tariff.scaleOf(), tariff.thawPeriodOf());
        require(scale <= MAX_SCALE, ScaleTooLarge(scale, MAX_SCALE));
        require(thawPeriod <= MAX_THAW_PERIOD, ThawPeriodTooLong(thawPeriod, MAX_THAW_PERIOD));
    }

    function _checkSplit(Split calldata split, bytes32 expected) private pure {
        bytes32 actual = split.id();
        require(actual == expected, SplitMismatch(expected, actual));
    }

    function _checkTree(Split calldata split, bytes32 root, uint256 total) private pure {
        require(root == split.root, RootMismatch(split.root, root));
        require(total == split.totalShares, TotalSharesMismatch(split.totalShares, total));
    }

    function _checkDeposit(Tariff calldata tariff, Split calldata split, address payer)
        private
        pure
        returns (bytes32 id)
    {
        id = _checkTariff(tariff);
        _checkSplit(split, tariff.splitId);
        require(split.totalShares != 0, ZeroTotalShares());
        require(payer != address(0), ZeroPayer());
    }

    /// @dev Registered accounts were checked when they registered.
    function _checkRecipient(address recipient) private view {
        require(recipient != address(0) && recipient != address(this), InvalidRecipient(recipient));
    }

    function _checkSealed(uint256 sealedAt) private view {
        // 0 wraps to the largest number there is.
        unchecked {
            require(sealedAt - 1 < type(uint32).max, SealedAtOutOfRange(sealedAt, type(uint32).max));
        }
        require(sealedAt <= block.timestamp, SealedInFuture(sealedAt, block.timestamp));
    }

    /// @dev All that a statement must be, but for the signature.
    /// @return id The tariff's.
    /// @return digest What `signer` must have signed.
    function _checkStatement(Tariff calldata tariff, uint64 sealedAt, Line[] calldata lines, address signer)
        private
        view
        returns (bytes32 id, bytes32 digest)
    {
        id = _checkTariff(tariff);
        _checkSealed(sealedAt);
        require(lines.length <= MAX_LINES, TooManyLines(lines.length, MAX_LINES));
        address provider = tariff.providerOf();
        // A signer that was never set has 0, and no statement is sealed at 0.
        uint64 until = _signerUntil[provider][signer];
        require(sealedAt <= until, SignerNotAuthorized(provider, signer, sealedAt, until));
        digest = _hashTypedDataV4(StatementHash.hash(id, sealedAt, lines));
    }

    /* EFFECTS */

    function _credit(
        bytes32 id,
        Tariff calldata tariff,
        Split calldata split,
        address payer,
        address from,
        Assets arrived
    ) private {
        Account storage escrow = _accounts[id][payer];
        uint256 balance = escrow.balance;
        uint256 settled = escrow.settled;
        uint256 room = type(uint112).max - balance - settled;
        uint256 added = Assets.unwrap(arrived);
        require(added <= room, AccountFull(added, room));
        // Cut before the balance grows: what was thawed and then drawn frees nothing of what comes after.
        Thaw memory current = _thaws[id][payer];
        if (current.amount > balance) _setThaw(id, payer, balance, current.end);
        // forge-lint: disable-next-line(unsafe-typecast) there is room
        escrow.balance = uint112(balance + added);
        if (balance == 0 && settled == 0) emit AccountOpened(id, payer, tariff, split);
        emit Deposited(id, payer, from, arrived);
    }

    /// @dev Nothing thawing has no end either, so that it reads like an account that never thawed.
    function _setThaw(bytes32 id, address payer, uint256 amount, uint64 end) private {
        if (amount == 0) end = 0;
        // forge-lint: disable-next-line(unsafe-typecast) at most a balance
        _thaws[id][payer] = Thaw(uint112(amount), end);
        emit Thawing(id, payer, Assets.wrap(amount), end);
    }

    function _drawAll(bytes32 id, Tariff calldata tariff, uint256 sealedAt, Line[] calldata lines)
        private
        returns (Assets)
    {
        mapping(address payer => Account) storage accounts = _accounts[id];
        RateLanes[2] calldata rates = tariff.rates;
        uint256 sum = 0;
        // The scale is at most 36, the time within uint32, and there are at most a thousand amounts of at most uint112.
        unchecked {
            uint256 unit = 10 ** tariff.scaleOf();
            uint256 stamp = sealedAt << 224;
            Line calldata line = lines.first();
            for (uint256 left = lines.length; left != 0; --left) {
                address payer = line.payerOf();
                Account storage escrow = accounts[payer];
                uint256 word = escrow.load();
                // The time stands above all else.
                if (word > (stamp | type(uint224).max)) {
                    // forge-lint: disable-next-line(unsafe-typecast) of 32 bits
                    emit Skipped(id, payer, uint64(sealedAt), uint32(word >> 224));
                } else {
                    Assets worth = Pricing.priceDown(rates, unit, line.usage);
                    uint256 drawn = escrow.draw(word, Assets.unwrap(worth), stamp);
                    sum += drawn;
                    _logSettled(id, payer, line, stamp | drawn);
                }
                line = line.next();
            }
        }
        if (sum != 0) _allocate(tariff.splitId, sum);
        return Assets.wrap(sum);
    }

    /// @dev emit Settled(id, payer, line.usage, line.head, SealedDraw.wrap(sealedDraw))
    function _logSettled(bytes32 id, address payer, Line calldata line, uint256 sealedDraw) private {
        bytes32 topic = Settled.selector;
        // Usage and head lie side by side in the line as in the event.
        assembly ("memory-safe") {
            let start := mload(0x40)
            calldatacopy(start, add(line, 0x20), 0x60)
            mstore(add(start, 0x60), sealedDraw)
            log3(start, 0x80, topic, id, payer)
        }
    }

    /// @dev Held to uint128, so that what is claimed of it fits a stake, and shares of it fit uint256.
    function _allocate(bytes32 id, uint256 added) private {
        Pot storage target = _pots[id];
        uint256 current = target.total;
        unchecked {
            uint256 room = type(uint128).max - current;
            require(added <= room, PotFull(added, room));
            target.total = current + added;
        }
    }

    function _register(bytes32 id, Party calldata party, uint256 offset) private {
        Stake storage held = _stakes[Ids.stakeKey(id, offset, party.account)];
        if (held.share != 0) return;
        held.share = party.share;
        emit Registered(id, party.account, offset, party.role, party.share);
    }

    /// @dev The books are written before the token is called, so that no lock need be held meanwhile.
    function _claim(Split calldata split, uint256 offset, address holder, address recipient)
        private
        returns (Assets)
    {
        bytes32 id = split.id();
        Stake storage held = _stakes[Ids.stakeKey(id, offset, holder)];
        (uint256 share, uint256 claimed) = (held.share, held.claimed);
        require(share != 0, NotRegistered(id, offset, holder));
        uint256 worth = Shares.entitledDown(_pots[id].total, share, split);
        if (worth == claimed) return Assets.wrap(0);

        // forge-lint: disable-next-line(unsafe-typecast) at most the pot
        held.claimed = uint128(worth);
        // A pot never falls, so neither does what a share of it is worth.
        unchecked {
            worth -= claimed;
        }
        // Both fit: an offset is below the total of shares, what is paid is at most the pot.
        StakePayment payment = StakePayment.wrap(offset << 128 | worth);
        if (recipient == holder) emit Claimed(id, holder, payment);
        else emit ClaimedTo(id, holder, recipient, payment);
        IERC20(split.assetOf()).safeTransfer(recipient, worth);
        return Assets.wrap(worth);
    }

    /* TOKENS */

    function _pull(address asset, Assets amount) private returns (Assets) {
        uint256 before = _held(asset);
        IERC20(asset).safeTransferFrom(msg.sender, address(this), Assets.unwrap(amount));
        return _arrivedSince(asset, before);
    }

    function _held(address asset) private view returns (uint256) {
        return IERC20(asset).balanceOf(address(this));
    }

    /// @dev What counts is what arrived. The lock keeps every other way in and out shut meanwhile.
    function _arrivedSince(address asset, uint256 before) private view returns (Assets) {
        uint256 current = _held(asset);
        require(current > before, NothingArrived(asset));
        return Assets.wrap(current - before);
    }

    /* ARITHMETIC */

    function _min(uint256 a, uint256 b) private pure returns (uint256) {
        return a < b ? a : b;
    }

    function _revertWith(bytes memory reason) private pure {
        assembly ("memory-safe") {
            revert(add(reason, 0x20), mload(reason))
        }
    }
}
