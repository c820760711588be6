# Where tools/setup.sh keeps what it fetches, outside any build folder.
if(DEFINED ENV{SOTTO_CACHE})
  set(SOTTO_CACHE $ENV{SOTTO_CACHE})
elseif(DEFINED ENV{XDG_CACHE_HOME})
  set(SOTTO_CACHE $ENV{XDG_CACHE_HOME}/sotto)
else()
  set(SOTTO_CACHE $ENV{HOME}/.cache/sotto)
endif()
