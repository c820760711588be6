# The builds for WebAssembly, where nothing is dispatched at run time: web/variants.ts picks one of
# these by name, or the worker `tokenizer`, which has tokenizers alone. A variant is one line here and
# one preset.
set(variants
  "simd            -msimd128"
  "relaxed         -msimd128 -mrelaxed-simd -DSOTTO_RELAXED_SIMD=1"
  "simd-threads    -msimd128 -pthread"
  "relaxed-threads -msimd128 -mrelaxed-simd -DSOTTO_RELAXED_SIMD=1 -pthread"
  "tokenizer       -msimd128")

set(SOTTO_VARIANT "simd" CACHE STRING "The WebAssembly variant to build")
unset(flags)
foreach(variant IN LISTS variants)
  separate_arguments(words UNIX_COMMAND "${variant}")
  list(POP_FRONT words name)
  if(name STREQUAL SOTTO_VARIANT)
    set(flags ${words})
  endif()
endforeach()
if(NOT flags)
  message(FATAL_ERROR "SOTTO_VARIANT=${SOTTO_VARIANT} is not in cmake/wasm-variants.cmake.")
endif()

# Functions of the same name in different files can be told apart (wasm/split.mjs).
add_compile_options(${flags} -funique-internal-linkage-names)
add_link_options(${flags})
if("-pthread" IN_LIST flags)
  set(SOTTO_THREADS ON CACHE BOOL "" FORCE)
else()
  set(SOTTO_THREADS OFF CACHE BOOL "" FORCE)
endif()
