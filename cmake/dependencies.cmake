# Libraries that Sotto stands on: Highway from its source tree, RapidJSON's headers, GoogleTest's sources.
if(NOT SOTTO_HIGHWAY_DIR)
  file(GLOB found $ENV{HOME}/.cache/sotto/highway-*)
  list(GET found 0 SOTTO_HIGHWAY_DIR)
endif()
set(HWY_ENABLE_TESTS OFF CACHE BOOL "" FORCE)
set(HWY_ENABLE_EXAMPLES OFF CACHE BOOL "" FORCE)
set(HWY_ENABLE_CONTRIB OFF CACHE BOOL "" FORCE)
set(HWY_ENABLE_INSTALL OFF CACHE BOOL "" FORCE)
add_subdirectory(${SOTTO_HIGHWAY_DIR} ${CMAKE_BINARY_DIR}/highway EXCLUDE_FROM_ALL SYSTEM)

# Only rapidjson/ itself may be on the path: the system's include folder would shadow Emscripten's.
file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/include)
file(CREATE_LINK ${SOTTO_RAPIDJSON_DIR}/rapidjson ${CMAKE_BINARY_DIR}/include/rapidjson SYMBOLIC)
add_library(rapidjson INTERFACE)
target_include_directories(rapidjson SYSTEM INTERFACE ${CMAKE_BINARY_DIR}/include)
