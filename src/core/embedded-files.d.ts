/** Files that the build embeds in the executable: an import gives their path. */
declare module "*.so" {
  const path: string;
  export default path;
}
declare module "*.json.gz" {
  const path: string;
  export default path;
}
