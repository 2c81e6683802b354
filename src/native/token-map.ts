/**
 * Tokens of a file, mapped into memory (cpp/cpu/token_map.cpp). Reads copy out of the mapping and
 * check their bounds; one that meets a file cut off meanwhile throws BAD_FORMAT.
 */
import { invariant } from "../core/errors.ts";
import { type Address, addressSlot, bind, NULL, takeAddress } from "./ffi.ts";

const native = bind({
  mg_token_map_open: ["i32", "u64", "u64", "u32", "buffer"],
  mg_token_map_free: ["buffer"],
  mg_token_map_read: ["handle", "u64", "u64", "buffer"],
});

const freeMap = new FinalizationRegistry<Address>((handle) => native.mg_token_map_free(handle));

export class TokenMap {
  #handle: Address;

  /**
   * `offset` is in bytes. The descriptor may be closed afterwards. Throws UNSUPPORTED where the file
   * cannot be mapped, BAD_FORMAT where it is too short.
   */
  constructor(fd: number, place: { offset: number; token_count: number; token_bytes: 2 | 4 }) {
    const slot = addressSlot();
    native.mg_token_map_open(fd, place.offset, place.token_count, place.token_bytes, slot);
    this.#handle = takeAddress(slot);
    freeMap.register(this, this.#handle, this);
  }

  /** Copies tokens [start, start + target.length) into `target`. */
  readInto(target: Int32Array, start: number): void {
    invariant(this.#handle !== NULL, "the token map is closed");
    native.mg_token_map_read(this.#handle, start, target.length, target);
  }

  close(): void {
    if (this.#handle === NULL) return;
    freeMap.unregister(this);
    native.mg_token_map_free(this.#handle);
    this.#handle = NULL;
  }
}
