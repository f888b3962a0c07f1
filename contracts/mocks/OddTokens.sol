// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";

/// Tokens with the habits that real ones have, for tests. Anyone mints all of them.

/// @notice A plain token with as many decimals as it is told.
contract PlainToken is ERC20 {
    uint8 private immutable _DECIMALS;

    constructor(uint8 decimals_) ERC20("Plain", "PLAIN") {
        _DECIMALS = decimals_;
    }

    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }

    function decimals() public view override returns (uint8) {
        return _DECIMALS;
    }
}

/// @notice Keeps a hundredth of each transfer.
contract FeeToken is ERC20("Fee", "FEE") {
    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }

    function _update(address from, address to, uint256 amount) internal override {
        bool moved = from != address(0) && to != address(0);
        uint256 fee = moved ? amount / 100 : 0;
        super._update(from, to, amount - fee);
        if (fee != 0) super._update(from, address(0xFEE), fee);
    }
}

/// @notice Returns nothing from its transfers, as USDT does.
contract NoReturnToken {
    mapping(address account => uint256) public balanceOf;
    mapping(address owner => mapping(address spender => uint256)) public allowance;

    error Insufficient(uint256 wanted, uint256 found);

    function mint(address to, uint256 amount) external {
        balanceOf[to] += amount;
    }

    /// @dev Also as USDT: an allowance is changed only from or to zero.
    function approve(address spender, uint256 amount) external {
        uint256 current = allowance[msg.sender][spender];
        require(amount == 0 || current == 0, Insufficient(amount, current));
        allowance[msg.sender][spender] = amount;
    }

    function transfer(address to, uint256 amount) external {
        _move(msg.sender, to, amount);
    }

    function transferFrom(address from, address to, uint256 amount) external {
        uint256 current = allowance[from][msg.sender];
        require(current >= amount, Insufficient(amount, current));
        allowance[from][msg.sender] = current - amount;
        _move(from, to, amount);
    }

    function _move(address from, address to, uint256 amount) private {
        require(balanceOf[from] >= amount, Insufficient(amount, balanceOf[from]));
        balanceOf[from] -= amount;
        balanceOf[to] += amount;
    }
}

/// @notice Returns false instead of reverting, once it is told to fail.
contract FalseToken is ERC20("False", "FALSE") {
    bool public failing;

    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }

    function fail(bool failing_) external {
        failing = failing_;
    }

    function transfer(address to, uint256 amount) public override returns (bool) {
        return !failing && super.transfer(to, amount);
    }

    function transferFrom(address from, address to, uint256 amount) public override returns (bool) {
        return !failing && super.transferFrom(from, to, amount);
    }
}

/// @notice Refuses transfers of zero, blocked accounts, and everything while paused.
contract StrictToken is ERC20("Strict", "STRICT") {
    mapping(address account => bool) public blocked;
    bool public paused;

    error ZeroTransfer();
    error Blocked(address account);
    error Paused();

    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }

    function setBlocked(address account, bool blocked_) external {
        blocked[account] = blocked_;
    }

    function setPaused(bool paused_) external {
        paused = paused_;
    }

    function _update(address from, address to, uint256 amount) internal override {
        require(amount != 0, ZeroTransfer());
        require(!paused, Paused());
        require(!blocked[from], Blocked(from));
        require(!blocked[to], Blocked(to));
        super._update(from, to, amount);
    }
}

/// @notice Takes from a holder without a transfer, as a rebase down does.
contract ShrinkingToken is ERC20("Shrinking", "SHRINK") {
    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }

    function shrink(address holder, uint256 amount) external {
        _burn(holder, amount);
    }
}

/// @notice Calls a target once in the middle of a transfer, as a token with hooks does, and keeps what came of it.
contract HookToken is ERC20("Hook", "HOOK") {
    address public target;
    bytes public call;
    bool public called;
    bool public succeeded;
    bytes public result;

    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }

    function hook(address target_, bytes calldata call_) external {
        (target, call, called) = (target_, call_, false);
    }

    function _update(address from, address to, uint256 amount) internal override {
        super._update(from, to, amount);
        if (from == address(0) || target == address(0) || called) return;
        called = true;
        (succeeded, result) = target.call(call);
    }
}

/// @notice Says yes to everything and moves nothing: as a contract whose fallback swallows unknown calls.
contract HollowToken {
    function balanceOf(address) external pure returns (uint256) {
        return 0;
    }

    fallback() external {}
}
