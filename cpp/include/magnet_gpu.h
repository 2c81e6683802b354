/* GPU section of the C ABI, which libmagnet_cuda alone has. Included by magnet.h inside extern "C"; do not
 * include alone. */
/* What there is, as JSON: {"driver_version":13000,"runtime_version":13000,"why_none":"","devices":[
 * {"name":"NVIDIA H200","capability":"9.0","multiprocessors":132,"memory_bytes":150754820096,
 * "free_bytes":150100000000,"error":""}]}. Versions: 13000 = CUDA 13.0; driver: the latest that it takes,
 * 0 = no driver. why_none: where there are no devices, in words. error: why a device does not answer (its
 * other fields are then empty or 0). Never fails for want of a GPU. A device that answers takes a moment
 * to be started, and some hundred MB of its memory until the process ends. */
MG_API int32_t mg_gpu_info(char* out, uint64_t capacity);
/* Bytes a second that kernels read of a GPU's memory, where no cache holds it: the best of some rounds
 * over 1 GiB, or over a quarter of what is free where that is less. */
MG_API int32_t mg_gpu_read_rate(uint32_t device, double* out_bytes_per_s);
