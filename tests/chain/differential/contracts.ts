/** Contracts whose calls reach many parts of an EVM: storage, logs, creation, precompiles, failure. */

export const SOURCE = `pragma solidity 0.8.37;

contract Child {
  uint256 public value;
  constructor(uint256 v) payable { value = v; require(v != 7, "seven"); }
  function die(address payable to) external { selfdestruct(to); }
  receive() external payable {}
}

contract Brief {
  constructor(address payable to) payable { selfdestruct(to); }
}

contract Fuzz {
  mapping(uint256 => uint256) public slots;
  uint256[] public list;
  string public text;
  address[] public children;
  event A(uint256 indexed a, address indexed b, bytes32 indexed c, bytes data);
  event B(string text);
  event Anonymous(uint256 x) anonymous;
  error Custom(uint256 code, string why);

  receive() external payable { emit B("received"); }
  fallback() external payable { slots[msg.sig == 0 ? 0 : uint32(msg.sig)] += msg.data.length; }

  function store(uint256 from, uint256 count, uint256 value) external {
    for (uint256 i = 0; i < count % 40; i++) slots[from % 64 + i] = value == 3 ? 0 : value + i;
  }
  function flip(uint256 key, uint256 times) external {
    uint256 before = slots[key % 64];
    for (uint256 i = 0; i < times % 9; i++) slots[key % 64] = i % 2 == 0 ? 0 : before + i;
  }
  function push(uint256 count) external { for (uint256 i = 0; i < count % 20; i++) list.push(i); }
  function pop(uint256 count) external { for (uint256 i = 0; i < count % 20; i++) list.pop(); }
  function write(string calldata t) external { text = t; emit B(t); }
  function logs(uint256 count, bytes calldata data) external {
    for (uint256 i = 0; i < count % 12; i++) {
      emit A(i, msg.sender, keccak256(data), data);
      emit Anonymous(i);
    }
    assembly { log0(0, 64) log1(0, 3, 9) log2(0, 0, 1, 2) }
  }
  function fail(uint256 kind) external {
    slots[1]++;
    kind = kind % 9;
    if (kind == 0) revert Custom(kind, "custom");
    if (kind == 1) require(false, "a reason");
    if (kind == 2) assert(false);
    if (kind == 3) assembly { invalid() }
    if (kind == 4) { uint256 z = kind - 4; slots[0] = 1 / z; }
    if (kind == 5) list[type(uint256).max] = 1;
    if (kind == 6) assembly { returndatacopy(0, 0, 1) }
    if (kind == 7) assembly { mstore(0xffffffffffff, 1) }
    while (true) slots[2]++;
  }
  function create(uint256 v) external payable { children.push(address(new Child{value: msg.value}(v))); }
  function create2(uint256 v, bytes32 salt) external payable {
    try new Child{value: msg.value, salt: salt}(v) returns (Child c) { children.push(address(c)); }
    catch (bytes memory why) { emit A(v, address(this), salt, why); }
  }
  function brief(address payable to) external payable { new Brief{value: msg.value}(to); }
  function kill(uint256 i, address payable to) external {
    if (children.length > 0) Child(payable(children[i % children.length])).die(to);
  }
  function createAndKill(bytes32 salt, address payable to) external payable {
    Child c = new Child{value: msg.value, salt: salt}(1);
    slots[3] = address(c).code.length;
    c.die(to);
    slots[4] = address(c).code.length;
    c.die(payable(address(c)));
  }
  function send(address payable to, uint256 amount, uint256 gas_) external payable {
    (bool ok, bytes memory back) = to.call{value: amount, gas: gas_}("");
    slots[5] = ok ? back.length + 1 : 0;
  }
  function recurse(uint256 depth) external returns (uint256) {
    slots[6]++;
    if (depth % 200 == 0) return gasleft();
    try this.recurse(depth % 200 - 1) returns (uint256 g) { return g; } catch { return 0; }
  }
  function borrow(address target, bytes calldata data) external {
    (bool a, ) = target.delegatecall(data);
    (bool b, bytes memory r) = target.staticcall(data);
    slots[7] = (a ? 1 : 0) + (b ? 2 : 0) + r.length * 4;
  }
  function reenter(uint256 v) external {
    (bool ok, ) = address(this).call(abi.encodeCall(this.failAfter, (v)));
    slots[8] = ok ? 1 : 2;
  }
  function failAfter(uint256 v) external {
    slots[9] = v; emit B("undone"); new Child(v + 100);
    if (v % 2 == 0) revert("undone");
  }
  function precompile(uint256 at, bytes calldata data, uint256 gas_) external {
    address p = address(uint160(at % 12));
    (bool ok, bytes memory r) = p.call{gas: gas_ % 500000}(data);
    slots[10] = ok ? uint256(keccak256(r)) : 1;
  }
  function facts(address who) external {
    slots[11] = uint256(who.codehash); slots[12] = who.code.length; slots[13] = who.balance;
    slots[14] = block.timestamp + block.number * 7 + block.basefee + block.gaslimit + block.chainid;
    slots[15] = uint160(tx.origin) + tx.gasprice + uint160(address(block.coinbase)) + gasleft();
    slots[16] = block.blobbasefee + uint256(blockhash(block.number)) + uint256(blobhash(0));
  }
  function transient_(uint256 v) external {
    assembly {
      tstore(v, add(tload(v), 1))
      sstore(77, tload(v))
      mstore(0, v) mcopy(32, 0, 32) mcopy(1, 0, 64)
      sstore(78, keccak256(0, 96))
    }
    if (v % 3 == 0) { (bool ok, ) = address(this).call(abi.encodeCall(this.transient_, (v + 1))); slots[17] = ok ? 1 : 0; }
  }
  function burn(uint256 n) external { uint256 x; for (uint256 i = 0; i < n % 3000; i++) x = uint256(keccak256(abi.encode(x))); slots[18] = x; }
  function memory_(uint256 n) external { bytes memory b = new bytes(n % 300000); slots[19] = b.length; }
}`;
