# CMake's toolchain for the wasm-* presets: Emscripten's own, wherever Emscripten is. SOTTO_EMSCRIPTEN
# names the folder of emcc; without it, the emcc on PATH or the one that tools/get-emscripten.sh made.
include(${CMAKE_CURRENT_LIST_DIR}/cache.cmake)
set(emscripten "$ENV{SOTTO_EMSCRIPTEN}")
if(NOT emscripten)
  find_program(emcc emcc PATHS ${SOTTO_CACHE}/emscripten/emscripten NO_CACHE NO_CMAKE_FIND_ROOT_PATH)
  if(NOT emcc)
    message(FATAL_ERROR "No Emscripten: call tools/setup.sh, or put emcc (4.0 or later) on PATH.")
  endif()
  file(REAL_PATH ${emcc} emcc)
  cmake_path(GET emcc PARENT_PATH emscripten)
endif()
set(ENV{SOTTO_EMSCRIPTEN} ${emscripten})  # for the checks that CMake runs in processes of their own
include(${emscripten}/cmake/Modules/Platform/Emscripten.cmake)
