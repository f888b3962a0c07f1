// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title FiatTokenProxy
/// @notice A proxy that does on every call what USDC's does, for gas figures only: it reads its administrator,
/// whom it turns away, then its implementation, and delegates to it.
contract FiatTokenProxy {
    bytes32 private constant ADMIN_SLOT = keccak256("org.zeppelinos.proxy.admin");
    bytes32 private constant IMPLEMENTATION_SLOT = keccak256("org.zeppelinos.proxy.implementation");

    constructor(address implementation, address admin) {
        _store(IMPLEMENTATION_SLOT, implementation);
        _store(ADMIN_SLOT, admin);
    }

    fallback() external payable {
        require(msg.sender != _load(ADMIN_SLOT), "Cannot call fallback function from the proxy admin");
        address implementation = _load(IMPLEMENTATION_SLOT);
        assembly ("memory-safe") {
            // Memory is this call's own from here on: nothing returns to Solidity.
            let data := mload(0x40)
            calldatacopy(data, 0, calldatasize())
            let success := delegatecall(gas(), implementation, data, calldatasize(), 0, 0)
            returndatacopy(data, 0, returndatasize())
            if iszero(success) { revert(data, returndatasize()) }
            return(data, returndatasize())
        }
    }

    function _load(bytes32 slot) private view returns (address value) {
        assembly ("memory-safe") {
            value := sload(slot)
        }
    }

    function _store(bytes32 slot, address value) private {
        assembly ("memory-safe") {
            sstore(slot, value)
        }
    }
}
