// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC5267} from "@openzeppelin/contracts/interfaces/IERC5267.sol";

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
} from "../types/Structs.sol";
import {Assets, SealedDraw, StakePayment, UsageLanes} from "../types/Units.sol";

/// @title ISettlementSplitter
/// @notice Payers escrow ERC-20 assets under a tariff; the provider's meter signs cumulative usage; anyone submits
/// what it signed; what the usage costs moves from the payer's account into the pot of the tariff's split; the
/// parties of the split claim their shares of the pot. No owner, no upgrade, no pause, no fee.
///
/// @dev Who is trusted with what:
/// - The meter (the signers that a tariff's provider sets): with everything that is deposited under that tariff,
///   and nothing else. A dishonest meter can draw a payer's whole balance into the pot; it cannot send it anywhere else.
/// - Whoever publishes a split: with nothing but its completeness. The tree proves that shares do not overlap and
///   add up to the whole. A root without known leaves keeps what is allocated to it for ever: a party serves only
///   under a split in which it has checked its own proof.
/// - The token: with its own balances. A token that freezes, fails or lies harms accounts and pots in that token only.
///
/// Tokens that charge a fee on transfer are credited with what arrived, and pay out less than is claimed. Tokens
/// whose balances shrink on their own, or that take more from a sender than it sends, are not supported: the last
/// ones to claim find nothing. What is sent here without `deposit` or `fund` belongs to nobody, and nobody can take
/// it out.
interface ISettlementSplitter is IERC5267 {
    /* EVENTS */

    /// @notice `provider` lets `signer` sign statements sealed at or before `until`.
    /// @param provider Whose tariffs it may sign for.
    /// @param signer A key's address, or a contract (ERC-1271).
    /// @param until In seconds; 0 revokes all that it signed.
    event SignerSet(address indexed provider, address indexed signer, uint64 until);

    /// @notice The parties of a split, proven to be those of its root.
    /// @param splitId The key of the split.
    /// @param split The split itself.
    /// @param parties All of its parties, in the order of their leaves.
    event SplitPublished(bytes32 indexed splitId, Split split, Party[] parties);

    /// @notice Someone says that the parties of a split are to be found at `uri`. Proves nothing: check the root.
    /// @param splitId The key of the split.
    /// @param split The split itself.
    /// @param uri Where its parties are said to be found.
    event SplitAnnounced(bytes32 indexed splitId, Split split, string uri);

    /// @notice A tariff and its document, proven to be the one that the terms commit to.
    /// @param tariffId The key of the tariff.
    /// @param tariff The tariff itself.
    /// @param document What `tariff.terms` is the hash of.
    event TariffPublished(bytes32 indexed tariffId, Tariff tariff, bytes document);

    /// @notice The first deposit into an account, with all that a payer needs in order to withdraw.
    /// @dev Emitted whenever a deposit finds neither a balance nor anything ever drawn, so possibly more than once.
    /// @param tariffId The key of the tariff.
    /// @param payer Whose account it is.
    /// @param tariff The tariff itself.
    /// @param split The split that the tariff names.
    event AccountOpened(bytes32 indexed tariffId, address indexed payer, Tariff tariff, Split split);

    /// @notice `arrived` was added to the account of `payer`; `from` gave it.
    /// @param tariffId The key of the tariff.
    /// @param payer Whose account it is.
    /// @param from Who gave it: the payer, or somebody else as a gift.
    /// @param arrived Base units that the token moved here.
    event Deposited(bytes32 indexed tariffId, address indexed payer, address indexed from, Assets arrived);

    /// @notice `amount` of the payer's balance can be withdrawn from `end` on. None while `amount` is 0.
    /// @param tariffId The key of the tariff.
    /// @param payer Whose account it is.
    /// @param amount Base units.
    /// @param end In seconds; 0 while nothing thaws.
    event Thawing(bytes32 indexed tariffId, address indexed payer, Assets amount, uint64 end);

    /// @notice `amount` went back to the payer, and its thaw is over.
    /// @param tariffId The key of the tariff.
    /// @param payer Whose account it is, and who was paid.
    /// @param amount Base units.
    event Withdrawn(bytes32 indexed tariffId, address indexed payer, Assets amount);

    /// @notice A line of a statement was settled: what was drawn moved from the account into the pot of the tariff's split.
    /// @param tariffId The key of the tariff.
    /// @param payer Whose account it is.
    /// @param usage The payer's cumulative usage, as the statement says.
    /// @param head The head of the payer's logs, as the statement says.
    /// @param sealedDraw When the statement was sealed (the highest 32 bits), and what was drawn (the lowest 112).
    event Settled(
        bytes32 indexed tariffId,
        address indexed payer,
        UsageLanes[2] usage,
        bytes32 head,
        SealedDraw sealedDraw
    );

    /// @notice A line was older than what the account had already settled, and changed nothing.
    /// @param tariffId The key of the tariff.
    /// @param payer Whose account it is.
    /// @param sealedAt When the statement was sealed.
    /// @param accountSealedAt When the account's newest settled statement was.
    event Skipped(bytes32 indexed tariffId, address indexed payer, uint64 sealedAt, uint32 accountSealedAt);

    /// @notice `arrived` was added to a pot directly.
    /// @param splitId The key of the split.
    /// @param from Who gave it.
    /// @param arrived Base units that the token moved here.
    event Funded(bytes32 indexed splitId, address indexed from, Assets arrived);

    /// @notice A party proved its leaf; from now on it claims without a proof.
    /// @param splitId The key of the split.
    /// @param account The party's.
    /// @param offset The sum of all shares to the left of the party's.
    /// @param role The party's, as its leaf says.
    /// @param share The party's, out of `split.totalShares`.
    event Registered(
        bytes32 indexed splitId, address indexed account, uint256 offset, uint8 role, uint128 share
    );

    /// @notice A party's account was paid out of the pot. Not emitted when there was nothing to pay.
    /// @param splitId The key of the split.
    /// @param account The party's.
    /// @param payment The stake's offset (the highest 128 bits), and the amount (the lowest 128).
    event Claimed(bytes32 indexed splitId, address indexed account, StakePayment payment);

    /// @notice As `Claimed`, and another than the party's account was paid: the party chose `recipient`.
    /// @param splitId The key of the split.
    /// @param account The party's.
    /// @param recipient Who was paid.
    /// @param payment As in `Claimed`.
    event ClaimedTo(
        bytes32 indexed splitId, address indexed account, address recipient, StakePayment payment
    );

    /* ERRORS */

    /// @notice The zero address signs nothing.
    error ZeroSigner();
    /// @notice A gift to the zero address could never be withdrawn.
    error ZeroPayer();
    /// @notice The split is not the one that the tariff or the authorization names.
    /// @param expected The key that is named.
    /// @param actual The key of the split that was given.
    error SplitMismatch(bytes32 expected, bytes32 actual);
    /// @notice No tree stands over no parties.
    error NoParties();
    /// @notice A split without shares would never pay out what is given to it.
    error ZeroTotalShares();
    /// @notice A party without a share has no interval of its own.
    /// @param account The party's.
    error ZeroShare(address account);
    /// @notice Role 0 is refused, so that a forgotten role is noticed.
    /// @param account The party's.
    error ZeroRole(address account);
    /// @notice Shares may not add up to more than uint128.
    /// @param sum What they add up to.
    /// @param limit The most they may.
    error ShareSumTooLarge(uint256 sum, uint256 limit);
    /// @notice A proof has one sum for each hash.
    /// @param hashes How many hashes there are.
    /// @param sums How many sums.
    error ProofLengthMismatch(uint256 hashes, uint256 sums);
    /// @notice The parties, or the proof, lead to another root.
    /// @param expected The split's.
    /// @param actual The one they lead to.
    error RootMismatch(bytes32 expected, bytes32 actual);
    /// @notice The parties, or the proof, lead to another sum of shares.
    /// @param expected The split's.
    /// @param actual The one they lead to.
    error TotalSharesMismatch(uint256 expected, uint256 actual);
    /// @notice The document is not the one that the terms commit to.
    /// @param expected The tariff's `terms`.
    /// @param actual The document's hash.
    error TermsMismatch(bytes32 expected, bytes32 actual);
    /// @notice The tariff's scale is above 36.
    /// @param scale The tariff's.
    /// @param limit The largest there is.
    error ScaleTooLarge(uint256 scale, uint256 limit);
    /// @notice The tariff's thaw period is above 90 days.
    /// @param thawPeriod The tariff's, in seconds.
    /// @param limit The longest there is.
    error ThawPeriodTooLong(uint256 thawPeriod, uint256 limit);
    /// @notice The token moved nothing to this contract.
    /// @param asset The token.
    error NothingArrived(address asset);
    /// @notice Balance and settled together would leave uint112.
    /// @param arrived Base units that would be credited.
    /// @param room Base units that still fit.
    error AccountFull(uint256 arrived, uint256 room);
    /// @notice The pot would leave uint128.
    /// @param added Base units that would be allocated.
    /// @param room Base units that still fit.
    error PotFull(uint256 added, uint256 room);
    /// @notice No more can be thawed than is there.
    /// @param amount What was to thaw.
    /// @param balance What is there.
    error ThawExceedsBalance(uint256 amount, uint256 balance);
    /// @notice There is no thaw to withdraw from.
    /// @param tariffId The key of the tariff.
    /// @param payer Whose account it is.
    error NothingThawing(bytes32 tariffId, address payer);
    /// @notice The thaw ends later.
    /// @param end When, in seconds.
    error StillThawing(uint256 end);
    /// @notice A statement has at most 1,000 lines.
    /// @param lines How many it has.
    /// @param limit How many it may have.
    error TooManyLines(uint256 lines, uint256 limit);
    /// @notice A statement is sealed at a time, not at 0, and not beyond uint32.
    /// @param sealedAt The statement's.
    /// @param limit The latest time there is.
    error SealedAtOutOfRange(uint256 sealedAt, uint256 limit);
    /// @notice The statement is sealed later than this block.
    /// @param sealedAt The statement's.
    /// @param timestamp The block's.
    error SealedInFuture(uint256 sealedAt, uint256 timestamp);
    /// @notice The provider does not let this signer sign what is sealed at that time.
    /// @param provider The tariff's.
    /// @param signer Who was said to have signed.
    /// @param sealedAt The statement's.
    /// @param until The signer's last second; 0 for none.
    error SignerNotAuthorized(address provider, address signer, uint64 sealedAt, uint64 until);
    /// @notice Neither an ECDSA signature by this signer, nor one that it accepts as a contract.
    /// @param signer Who was said to have signed.
    /// @param digest What should have been signed.
    error InvalidSignature(address signer, bytes32 digest);
    /// @notice The party has not proven its leaf yet: `claimFirst`.
    /// @param splitId The key of the split.
    /// @param offset The stake's.
    /// @param account The stake's.
    error NotRegistered(bytes32 splitId, uint256 offset, address account);
    /// @notice There is nothing that the authorization could pay; it stays good.
    /// @param splitId The key of the split.
    /// @param offset The stake's.
    /// @param account The stake's.
    error NothingToClaim(bytes32 splitId, uint256 offset, address account);
    /// @notice Nothing is paid to the zero address or to this contract.
    /// @param recipient Who would have been paid.
    error InvalidRecipient(address recipient);
    /// @notice The authorization was for use until `deadline`.
    /// @param deadline The authorization's, in seconds.
    /// @param timestamp The block's.
    error AuthorizationExpired(uint256 deadline, uint256 timestamp);
    /// @notice The authorization was used, or is not the account's next one.
    /// @param account The party's.
    /// @param expected Its next nonce.
    /// @param actual The authorization's.
    error InvalidNonce(address account, uint256 expected, uint256 actual);

    /* SIGNERS */

    /// @notice Lets `signer` sign statements for the caller's tariffs that are sealed at or before `until`.
    /// @dev Setting `until` to now retires a key and keeps what it sealed. 0 revokes all of it; it is also what every
    /// unknown signer has, so no statement passes with it. A signer can be a contract (ERC-1271).
    /// Warning: a retired key can still sign statements dated before its end. A stolen key is revoked with 0.
    /// @param signer A key's address, or a contract.
    /// @param until In seconds.
    function setSigner(address signer, uint64 until) external;

    /* PUBLISHING */

    /// @notice Emits the parties of a split after proving from them its root and its total of shares.
    /// @dev Nothing is stored, and nothing else depends on it: it makes the leaves known to whoever watches the chain.
    /// @param split The split.
    /// @param parties All of its parties, in the order of their leaves.
    function publishSplit(Split calldata split, Party[] calldata parties) external;

    /// @notice Emits where the parties of a split, too many to publish here, are said to be found.
    /// @dev Warning: anyone may say so of any split, and `uri` is not checked. Believe only what hashes to the root.
    /// @param split The split.
    /// @param uri Where its parties are said to be found.
    function announceSplit(Split calldata split, string calldata uri) external;

    /// @notice Emits a tariff and its document after checking that `keccak256(document)` is `tariff.terms`.
    /// @dev Anyone may: it says what the terms are, not that the provider serves under them.
    /// @param tariff The tariff.
    /// @param document What its terms are the hash of.
    function publishTariff(Tariff calldata tariff, bytes calldata document) external;

    /* ESCROW */

    /// @notice Pulls `amount` from the caller into the account of `payer` under a tariff.
    /// @dev Consent to the terms if the caller is the payer, else a gift: only the payer can withdraw it.
    /// Warning: all of it is at risk to the tariff's meter. Deposit no more than the meter may draw at once.
    /// @param tariff Under which it may be drawn.
    /// @param split The one that the tariff names; it names the token.
    /// @param payer Whose account is credited.
    /// @param amount Base units to pull.
    /// @return arrived What the token moved here; that is credited. Refused when nothing arrived.
    function deposit(Tariff calldata tariff, Split calldata split, address payer, Assets amount)
        external
        returns (Assets arrived);

    /// @notice As `deposit`, with an EIP-2612 permit of the caller for exactly `amount`.
    /// @dev If someone else submitted the permit first, the allowance is there and the deposit goes through.
    /// @param tariff As in `deposit`.
    /// @param split As in `deposit`.
    /// @param payer As in `deposit`.
    /// @param amount As in `deposit`, and what is permitted.
    /// @param deadline The permit's.
    /// @param v Of the permit's signature.
    /// @param r Of the permit's signature.
    /// @param s Of the permit's signature.
    /// @return arrived As in `deposit`.
    function depositWithPermit(
        Tariff calldata tariff,
        Split calldata split,
        address payer,
        Assets amount,
        uint256 deadline,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external returns (Assets arrived);

    /// @notice Receives `amount` by an EIP-3009 authorization of the payer, which anyone may submit.
    /// @dev The authorization is of `receiveWithAuthorization` to this contract with the nonce
    /// `keccak256(abi.encode(tariffId, salt))`: it names the tariff, so nobody can credit it under another one.
    /// @param tariff As in `deposit`.
    /// @param split As in `deposit`.
    /// @param payer Who signed, who pays, and whose account is credited.
    /// @param amount What is authorized, in base units.
    /// @param validAfter The authorization's, in seconds.
    /// @param validBefore The authorization's, in seconds.
    /// @param salt Makes the authorization's nonce, together with the tariff.
    /// @param v Of the authorization's signature.
    /// @param r Of the authorization's signature.
    /// @param s Of the authorization's signature.
    /// @return arrived As in `deposit`.
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
    ) external returns (Assets arrived);

    /// @notice Sets how much of the caller's balance is thawing; 0 ends the thaw.
    /// @dev More than before starts the clock of all of it anew; less does not. Thawing funds can still be drawn, and
    /// "before" means what is left of the thaw: `min(thaw.amount, balance)`.
    /// @param tariff Under which the balance lies.
    /// @param amount Base units, at most the balance.
    function thaw(Tariff calldata tariff, Assets amount) external;

    /// @notice Pays to the caller what it thawed, or what is left of it, once the thaw has ended.
    /// @dev A thaw of which everything was drawn meanwhile is cleared and pays 0.
    /// @param tariff Under which the balance lies.
    /// @param split The one that the tariff names; it names the token.
    /// @return amount Base units that were paid.
    function withdraw(Tariff calldata tariff, Split calldata split) external returns (Assets amount);

    /* SETTLEMENT */

    /// @notice Draws what signed usage costs from the accounts of its payers into the pot of the tariff's split.
    /// @dev Anyone may submit. Usage is cumulative: what was drawn before is not drawn again, and a line older than the
    /// account's newest settled one is skipped. A payer that runs dry is drawn to 0; the rest is drawn by the same or a
    /// later statement after a deposit. No token is called.
    /// The signature is tried as ECDSA first (65 bytes, or the 64 of EIP-2098), whatever code the signer has, so that an
    /// account under EIP-7702 delegation still signs with its key; then by ERC-1271. Statements sealed at 0 or beyond uint32 (the year 2106) are refused.
    /// The arguments stand in an order that gives the lowest selector, which the compiler's dispatch tries first.
    /// @param signer Who signed; authorized by the tariff's provider for `sealedAt`.
    /// @param signature The signer's, over `hashStatement`.
    /// @param sealedAt When the statement was sealed, in seconds.
    /// @param tariff Under which its usage was counted.
    /// @param lines At most 1,000, each one payer's cumulative usage.
    /// @return drawn The sum over all lines.
    function settle(
        address signer,
        bytes calldata signature,
        uint64 sealedAt,
        Tariff calldata tariff,
        Line[] calldata lines
    ) external returns (Assets drawn);

    /// @notice As `settle`, of a statement with a single line, signed by a key: cheaper by a fiftieth.
    /// @dev A statement of one line is the same whichever function it is submitted to. Not for contracts as signers.
    /// The arguments stand in an order that gives the lowest selector, as those of `settle`.
    /// @param line The statement's only one.
    /// @param signer Who signed, by its key.
    /// @param r The first word of the signature.
    /// @param vs The second word, the highest bit of which says which v it is (EIP-2098).
    /// @param tariff As in `settle`.
    /// @param sealedAt As in `settle`.
    /// @return drawn Base units.
    function settleOne(
        Line calldata line,
        address signer,
        bytes32 r,
        bytes32 vs,
        Tariff calldata tariff,
        uint64 sealedAt
    ) external returns (Assets drawn);

    /// @notice Adds to a pot what arrives of `amount` from the caller. It cannot be taken back.
    /// @param split Whose pot it is; it names the token.
    /// @param amount Base units to pull.
    /// @return arrived Base units that the token moved here; refused when nothing did.
    function fund(Split calldata split, Assets amount) external returns (Assets arrived);

    /* CLAIMS */

    /// @notice Proves a party's leaf, registers its stake, and pays its account what it is entitled to, if anything.
    /// @dev Anyone may. A second time it acts like `claim`.
    /// @param split The split.
    /// @param party The leaf.
    /// @param proof Its siblings up to the split's root.
    /// @return amount Base units that were paid.
    function claimFirst(Split calldata split, Party calldata party, ShareProof calldata proof)
        external
        returns (Assets amount);

    /// @notice Pays a registered party's account what it is entitled to and was not paid yet. Anyone may.
    /// @dev The arguments stand in the order that gives the lowest selector, which the compiler's dispatch tries first.
    /// @param offset The sum of all shares to the left of the party's, as `Registered` says.
    /// @param account The party's.
    /// @param split The split.
    /// @return amount Base units that were paid.
    function claim(uint256 offset, address account, Split calldata split) external returns (Assets amount);

    /// @notice As `claim`, for the caller's own stake, to a recipient of its choice.
    /// @param split The split.
    /// @param offset As in `claim`.
    /// @param recipient Who is paid; neither the zero address nor this contract.
    /// @return amount Base units that were paid.
    function claimTo(Split calldata split, uint256 offset, address recipient) external returns (Assets amount);

    /// @notice As `claimTo`, with the party's signed consent, which anyone may submit once, until its deadline.
    /// @dev ECDSA first, then ERC-1271. While there is nothing to pay an authorization is refused, and stays good. A
    /// party makes an open one void by using its nonce for another.
    /// @param split The one that the authorization names.
    /// @param authorization Whose stake, to whom, until when, and the account's next nonce.
    /// @param signature The party's, over `hashClaimAuthorization`.
    /// @return amount Base units that were paid.
    function claimWithAuthorization(
        Split calldata split,
        ClaimAuthorization calldata authorization,
        bytes calldata signature
    ) external returns (Assets amount);

    /* BATCHES */

    /// @notice Makes several calls to this contract in the caller's name; all of them succeed or none.
    /// @param calls Each with its selector, as in a transaction of its own.
    /// @return results What each of them returned, encoded.
    function multicall(bytes[] calldata calls) external returns (bytes[] memory results);

    /* VIEWS */

    /// @notice A payer's escrow under a tariff.
    /// @param tariffId The key of the tariff.
    /// @param payer Whose account it is.
    /// @return Zeros where nothing was ever deposited.
    function account(bytes32 tariffId, address payer) external view returns (Account memory);

    /// @notice A payer's thaw under a tariff; what can be withdrawn is at most the balance.
    /// @param tariffId The key of the tariff.
    /// @param payer Whose account it is.
    /// @return Zeros while nothing thaws.
    function thawing(bytes32 tariffId, address payer) external view returns (Thaw memory);

    /// @notice How much of a payer's balance cannot be withdrawn before `until`, a time in seconds.
    /// @dev 0 if a thaw that starts now would end before `until`. A time in the past counts as now. Statements of the same
    /// tariff can still draw it.
    /// @param tariff The tariff.
    /// @param payer Whose account it is.
    /// @param until In seconds.
    /// @return Base units.
    function secured(Tariff calldata tariff, address payer, uint256 until) external view returns (Assets);

    /// @notice All that was ever allocated to a split, claimed or not.
    /// @param splitId The key of the split.
    /// @return Base units.
    function pot(bytes32 splitId) external view returns (Assets);

    /// @notice A registered party's share and what it claimed.
    /// @param splitId The key of the split.
    /// @param offset The sum of all shares to the left of the party's.
    /// @param account The party's.
    /// @return Zeros until its leaf is proven.
    function stake(bytes32 splitId, uint256 offset, address account) external view returns (Stake memory);

    /// @notice What a share of a split is worth so far, claimed or not, rounded down.
    /// @param split The split.
    /// @param share Out of its total of shares.
    /// @return Base units.
    function entitled(Split calldata split, uint128 share) external view returns (Assets);

    /// @notice What a registered party would be paid now; 0 for an unregistered one.
    /// @param split The split.
    /// @param offset The sum of all shares to the left of the party's.
    /// @param account The party's.
    /// @return Base units.
    function claimable(Split calldata split, uint256 offset, address account) external view returns (Assets);

    /// @notice What a cumulative usage costs under a tariff, rounded down.
    /// @param tariff The tariff.
    /// @param usage Of all eight meters, since the account's beginning.
    /// @return Base units.
    function price(Tariff calldata tariff, UsageLanes[2] calldata usage) external pure returns (Assets);

    /// @notice Until when a provider lets a signer sign; 0 for never.
    /// @param provider Whose tariffs it may sign for.
    /// @param signer Who signs.
    /// @return In seconds.
    function signerUntil(address provider, address signer) external view returns (uint64);

    /// @notice The nonce of the account's next claim authorization.
    /// @param account The party's.
    /// @return How many of its authorizations were used.
    function nonces(address account) external view returns (uint256);

    /// @notice The key of a tariff.
    /// @param tariff The tariff.
    /// @return `keccak256(abi.encode(tariff))`
    function tariffId(Tariff calldata tariff) external pure returns (bytes32);

    /// @notice The key of a split.
    /// @param split The split.
    /// @return `keccak256(abi.encode(split))`
    function splitId(Split calldata split) external pure returns (bytes32);

    /// @notice The EIP-712 digest that the meter signs.
    /// @param statement The statement.
    /// @return Under this contract's domain.
    function hashStatement(Statement calldata statement) external view returns (bytes32);

    /// @notice The EIP-712 digest that a party signs.
    /// @param authorization The authorization.
    /// @return Under this contract's domain.
    function hashClaimAuthorization(ClaimAuthorization calldata authorization) external view returns (bytes32);
}
