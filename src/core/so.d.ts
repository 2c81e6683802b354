/** A shared library imported as a file: its path. */
declare module "*.so" {
  const path: string;
  export default path;
}
