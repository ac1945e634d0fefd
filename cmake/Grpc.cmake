# Finds gRPC and protobuf and defines attribution_generate_proto(), which makes a library of generated C++.

find_package(Protobuf REQUIRED)
find_package(gRPC CONFIG REQUIRED)
find_program(GRPC_CPP_PLUGIN grpc_cpp_plugin REQUIRED)
attribution_python_package(google_rpc_package google.rpc)
cmake_path(SET ATTRIBUTION_GOOGLEAPIS_DIRECTORY NORMALIZE "${google_rpc_package}/../..")

# Adds library `target` with the messages of MESSAGES and the messages and services of SERVICES.
# Files are named relative to IMPORTS, the folders protoc searches, and their headers are included by that name.
# A program that links the library carries every descriptor in it, used or not, so that reflection can serve them all.
function(attribution_generate_proto target)
  cmake_parse_arguments(PARSE_ARGV 1 ARG "" "" "MESSAGES;SERVICES;IMPORTS")
  set(out ${PROJECT_BINARY_DIR}/generated)
  file(MAKE_DIRECTORY ${out})
  list(TRANSFORM ARG_IMPORTS PREPEND -I OUTPUT_VARIABLE import_flags)

  set(sources)
  foreach(file IN LISTS ARG_MESSAGES ARG_SERVICES)
    find_file(source ${file} PATHS ${ARG_IMPORTS} NO_DEFAULT_PATH NO_CACHE REQUIRED)
    list(APPEND sources ${source})
    unset(source)
  endforeach()

  set(generated)
  foreach(file IN LISTS ARG_MESSAGES ARG_SERVICES)
    string(REGEX REPLACE "\\.proto$" "" stem ${file})
    set(outputs ${out}/${stem}.pb.h ${out}/${stem}.pb.cc)
    set(grpc_flags)
    if(file IN_LIST ARG_SERVICES)
      list(APPEND outputs ${out}/${stem}.grpc.pb.h ${out}/${stem}.grpc.pb.cc)
      set(grpc_flags --grpc_out=${out} --plugin=protoc-gen-grpc=${GRPC_CPP_PLUGIN})
    endif()
    add_custom_command(
      OUTPUT ${outputs}
      COMMAND protobuf::protoc ${import_flags} --cpp_out=${out} ${grpc_flags} ${file}
      DEPENDS ${sources}
      COMMENT "Generating C++ of ${file}"
      VERBATIM
    )
    list(APPEND generated ${outputs})
  endforeach()

  # What clang-tidy needs: the headers, without compiling them.
  add_custom_target(${target}_headers DEPENDS ${generated})
  add_library(${target}_generated STATIC ${generated})
  add_dependencies(${target}_generated ${target}_headers)
  target_include_directories(${target}_generated SYSTEM PUBLIC ${out})
  target_link_libraries(${target}_generated PUBLIC gRPC::grpc++ protobuf::libprotobuf)
  # Generated code is not ours to tidy.
  target_compile_options(${target}_generated PRIVATE -w)

  # The linker would drop the descriptors that nothing refers to.
  add_library(${target} INTERFACE)
  target_link_libraries(${target} INTERFACE $<LINK_LIBRARY:WHOLE_ARCHIVE,${target}_generated>)
endfunction()
