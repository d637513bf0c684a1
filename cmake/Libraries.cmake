# Debian 12 packages; docs/dependencies.md says what each is for.
find_package(Threads REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(yaml-cpp REQUIRED)
find_package(fmt REQUIRED)
find_package(OpenSSL REQUIRED)
find_package(ZLIB REQUIRED)
find_package(LibArchive REQUIRED)

find_package(PkgConfig REQUIRED)
foreach(entry "utf8proc:libutf8proc" "zstd:libzstd" "deflate:libdeflate" "pugixml:pugixml")
  string(REPLACE ":" ";" pair ${entry})
  list(GET pair 0 short)
  list(GET pair 1 module)
  pkg_check_modules(${short}_pc REQUIRED IMPORTED_TARGET ${module})
  add_library(bm_${short} ALIAS PkgConfig::${short}_pc)
endforeach()

# CLD2 comes without a pkg-config file.
find_path(CLD2_INCLUDE cld2/public/compact_lang_det.h REQUIRED)
find_library(CLD2_LIBRARY cld2 REQUIRED)
add_library(bm_cld2 INTERFACE)
target_include_directories(bm_cld2 SYSTEM INTERFACE ${CLD2_INCLUDE})
target_link_libraries(bm_cld2 INTERFACE ${CLD2_LIBRARY})

# The verb translate talks to HTTP endpoints; everything else builds and runs without libcurl.
find_package(CURL)
if(CURL_FOUND)
  set(BIOMISTRAL_HTTP_LIBRARY CURL::libcurl)
else()
  message(WARNING "libcurl is not installed: the verb translate will say so (scripts/setup installs it)")
endif()
