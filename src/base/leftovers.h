// What a killed process left of files it was writing.
#pragma once

#include <string>

namespace bm {

// A file that AtomicFile had not renamed when its process was killed: NAME.tmp-<process>.
bool is_abandoned(const std::string& name);

// Removes all such files below the folder. Only for folders no other process is writing to.
void remove_abandoned(const std::string& folder);

}  // namespace bm
