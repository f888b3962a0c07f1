// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title FiatToken
/// @notice A token that reads and writes the slots that USDC (version 2.2) reads and writes, for gas figures only:
/// a pause flag on every movement, a blocklist bit in the slot of each balance, finite and endless allowances,
/// EIP-2612. Anyone mints. All state starts at zero, so that it works behind a proxy without an initialiser.
contract FiatToken {
    uint256 private constant BLOCKED = 1 << 255;
    bytes32 private constant DOMAIN_TYPEHASH =
        keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");
    bytes32 private constant PERMIT_TYPEHASH =
        keccak256("Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)");

    address private _pauser;
    bool public paused;
    uint256 public totalSupply;
    /// The balance in the lower 255 bits, whether the account is blocked in the highest.
    mapping(address account => uint256) private _balances;
    mapping(address owner => mapping(address spender => uint256)) public allowance;
    mapping(address owner => uint256) public nonces;

    event Transfer(address indexed from, address indexed to, uint256 value);
    event Approval(address indexed owner, address indexed spender, uint256 value);

    modifier whenNotPaused() {
        require(!paused, "Pausable: paused");
        _;
    }

    modifier notBlocked(address account) {
        require(_balances[account] & BLOCKED == 0, "Blacklistable: account is blacklisted");
        _;
    }

    function mint(address to, uint256 value) external {
        totalSupply += value;
        _balances[to] += value;
        emit Transfer(address(0), to, value);
    }

    function approve(address spender, uint256 value)
        external
        whenNotPaused
        notBlocked(msg.sender)
        notBlocked(spender)
        returns (bool)
    {
        _approve(msg.sender, spender, value);
        return true;
    }

    function permit(
        address owner,
        address spender,
        uint256 value,
        uint256 deadline,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external whenNotPaused {
        require(deadline >= block.timestamp, "FiatTokenV2: permit is expired");
        bytes32 content =
            keccak256(abi.encode(PERMIT_TYPEHASH, owner, spender, value, nonces[owner]++, deadline));
        address signer =
            ecrecover(keccak256(abi.encodePacked("\x19\x01", domainSeparator(), content)), v, r, s);
        require(signer != address(0) && signer == owner, "EIP2612: invalid signature");
        _approve(owner, spender, value);
    }

    function transfer(address to, uint256 value)
        external
        whenNotPaused
        notBlocked(msg.sender)
        notBlocked(to)
        returns (bool)
    {
        _transfer(msg.sender, to, value);
        return true;
    }

    function transferFrom(address from, address to, uint256 value)
        external
        whenNotPaused
        notBlocked(msg.sender)
        notBlocked(from)
        notBlocked(to)
        returns (bool)
    {
        uint256 allowed = allowance[from][msg.sender];
        require(value <= allowed, "ERC20: transfer amount exceeds allowance");
        _transfer(from, to, value);
        if (allowed != type(uint256).max) allowance[from][msg.sender] = allowed - value;
        return true;
    }

    function balanceOf(address account) external view returns (uint256) {
        return _balances[account] & ~BLOCKED;
    }

    function domainSeparator() public view returns (bytes32) {
        return keccak256(
            abi.encode(DOMAIN_TYPEHASH, keccak256("USD Coin"), keccak256("2"), block.chainid, address(this))
        );
    }

    function _approve(address owner, address spender, uint256 value) private {
        require(owner != address(0) && spender != address(0), "ERC20: approve with the zero address");
        allowance[owner][spender] = value;
        emit Approval(owner, spender, value);
    }

    function _transfer(address from, address to, uint256 value) private {
        require(from != address(0) && to != address(0), "ERC20: transfer with the zero address");
        uint256 balance = _balances[from] & ~BLOCKED;
        require(value <= balance, "ERC20: transfer amount exceeds balance");
        _balances[from] = balance - value;
        uint256 received = (_balances[to] & ~BLOCKED) + value;
        require(received & BLOCKED == 0, "FiatTokenV2_2: balance exceeds 2^255 - 1");
        _balances[to] = received;
        emit Transfer(from, to, value);
    }
}
