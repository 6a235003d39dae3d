# cmake -Dfiles="a;b" -Doutput=builtin_data.cpp -P embed.cmake
set(cases "")
foreach(file IN LISTS files)
  get_filename_component(name "${file}" NAME)
  file(READ "${file}" content)
  string(APPEND cases "    if (name == \"${name}\")\n        return R\"_trainctl_(${content})_trainctl_\";\n")
endforeach()
file(WRITE "${output}" "#include \"builtin_data.h\"\n\nnamespace trainctl {\n\nstd::string_view builtin_data(std::string_view name) {\n${cases}    return {};\n}\n\n} // namespace trainctl\n")
