# Fails the configuration when a room links, directly or through others, what it must not know.
# The walls are those of docs/architecture.md; tools/check-includes holds the same rooms by their #include lines.

# Appends to `variable` every library that `target` reaches.
function(attribution_reach variable target)
  set(seen ${${variable}})
  get_target_property(aliased ${target} ALIASED_TARGET)
  if(aliased)
    set(target ${aliased})
  endif()
  set(links)
  foreach(property IN ITEMS LINK_LIBRARIES INTERFACE_LINK_LIBRARIES)
    get_target_property(value ${target} ${property})
    if(value)
      list(APPEND links ${value})
    endif()
  endforeach()
  foreach(link IN LISTS links)
    # Unwraps $<LINK_ONLY:x> and $<LINK_LIBRARY:feature,x>.
    string(REGEX REPLACE "^\\$<[A-Z_]+:([A-Z_]+,)?(.*)>$" "\\2" link "${link}")
    if(link IN_LIST seen)
      continue()
    endif()
    list(APPEND seen "${link}")
    if(TARGET "${link}")
      attribution_reach(seen "${link}")
    endif()
  endforeach()
  set(${variable} ${seen} PARENT_SCOPE)
endfunction()

# Declares that attribution_<room> must not reach a library whose name matches one of the given regular expressions.
function(attribution_forbid room)
  if(NOT TARGET attribution_${room})
    return()
  endif()
  set(reached)
  attribution_reach(reached attribution_${room})
  foreach(library IN LISTS reached)
    string(REPLACE "attribution::" "attribution_" name "${library}")
    foreach(pattern IN LISTS ARGN)
      if(name MATCHES "${pattern}")
        message(
          FATAL_ERROR
          "Wall broken: \"${room}\" must not link \"${library}\", and reaches it. See docs/architecture.md"
        )
      endif()
    endforeach()
  endforeach()
endfunction()

set(grpc "^gRPC::" "^protobuf::" "^attribution_proto")
set(torch "^attribution_torch" "libtorch")
set(any_room "^attribution_(rollout|capture|memory|models|admission|engine|telemetry|rpc|config)$")

attribution_forbid(
  rollout
  ${grpc}
  openvino
  "^attribution_(capture|memory|models|admission|engine|telemetry|rpc|config)$"
)
attribution_forbid(capture ${grpc} openvino "^attribution_(models|admission|engine|rpc|config)$")
attribution_forbid(text ${grpc} ${torch} openvino ${any_room})
attribution_forbid(memory ${grpc} openvino ${any_room})
attribution_forbid(models ${grpc} "^attribution_(admission|engine|rpc|config)$")
attribution_forbid(
  admission
  ${grpc}
  ${torch}
  openvino
  "^attribution_(rollout|capture|memory|models|engine|rpc|config)$"
)
attribution_forbid(engine ${grpc} "^attribution_(rpc|config)$")
attribution_forbid(
  telemetry
  ${grpc}
  ${torch}
  openvino
  "^attribution_(rollout|capture|memory|models|admission|engine|rpc|config)$"
)
attribution_forbid(config ${grpc} ${torch} openvino ${any_room})
attribution_forbid(client ${torch} openvino ${any_room})
attribution_forbid(cli ${torch} openvino ${any_room})
