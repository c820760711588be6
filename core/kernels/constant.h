// Where the numbers of vector code lie in WebAssembly. V8 builds a constant vector anew at each
// use, from three instructions, but splats a number from memory with one: so they are kept in
// memory, as variables, which no compiler may take for constants.
#ifndef SOTTO_CORE_KERNELS_CONSTANT_H_
#define SOTTO_CORE_KERNELS_CONSTANT_H_

namespace sotto {

template <auto kValue>
inline decltype(kValue) kConstant = kValue;  // NOLINT: a variable on purpose, never written

}  // namespace sotto

#endif  // SOTTO_CORE_KERNELS_CONSTANT_H_
