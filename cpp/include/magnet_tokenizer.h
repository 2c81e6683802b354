/* tokenizer section of the C ABI. Included by magnet.h inside extern "C"; do not include alone. */
