# The allocator of attribution-server: tcmalloc_minimal, where it is installed. docs/adr/0005-process-allocator.md has the
# measurements. Debian's runtime package has no libtcmalloc_minimal.so to link by its usual name.
#
# Defines attribution_allocator, for programs only: who embeds the engine chooses for their own process. Sanitizers
# bring an allocator of their own.
add_library(attribution_allocator INTERFACE)
if(NOT ATTRIBUTION_SANITIZE)
  find_library(ATTRIBUTION_TCMALLOC NAMES libtcmalloc_minimal.so libtcmalloc_minimal.so.4)
  mark_as_advanced(ATTRIBUTION_TCMALLOC)
  if(ATTRIBUTION_TCMALLOC)
    # Nothing of ours names a symbol of it, so the linker would leave it out.
    target_link_libraries(
      attribution_allocator
      INTERFACE -Wl,--push-state,--no-as-needed ${ATTRIBUTION_TCMALLOC} -Wl,--pop-state
    )
    target_compile_definitions(
      attribution_allocator
      INTERFACE ATTRIBUTION_ALLOCATOR="${ATTRIBUTION_TCMALLOC}"
    )
  else()
    message(
      STATUS
      "tcmalloc_minimal was not found: attribution-server runs on the C library's allocator and needs more memory"
    )
  endif()
endif()
