// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {SettlementSplitter} from "../SettlementSplitter.sol";

/// @dev The two cheats of forge that the script needs.
interface Vm {
    function startBroadcast() external;
    function stopBroadcast() external;
}

/// @title Deploy
/// @notice Puts the splitter at the address that it has on every chain, as `meterbridge deploy` does: forge sends
/// a creation with a salt through the deterministic deployment proxy.
///
///   scripts/forge script contracts/script/Deploy.s.sol --rpc-url URL --broadcast --account NAME
contract Deploy {
    // forge runs what says that it is a script.
    // solhint-disable-next-line const-name-snakecase
    bool public constant IS_SCRIPT = true;
    bytes32 public constant SALT = keccak256("Meterbridge SettlementSplitter 1");
    address public constant FACTORY = 0x4e59b44847b379578588920cA78FbF26c0B4956C;

    Vm private constant VM = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));

    error FactoryMissing(address factory);
    error WrongAddress(address expected, address actual);

    /// @notice Deploys, unless the contract is there already.
    function run() external returns (address deployed) {
        require(FACTORY.code.length != 0, FactoryMissing(FACTORY));
        address expected = predicted();
        if (expected.code.length != 0) return expected;
        VM.startBroadcast();
        deployed = address(new SettlementSplitter{salt: SALT}());
        VM.stopBroadcast();
        require(deployed == expected, WrongAddress(expected, deployed));
    }

    /// @return The address on every chain (EIP-1014).
    function predicted() public pure returns (address) {
        bytes32 creation = keccak256(type(SettlementSplitter).creationCode);
        return address(uint160(uint256(keccak256(abi.encodePacked(hex"ff", FACTORY, SALT, creation)))));
    }
}
