// Phoenix: lazy functions, statements and the standard algorithms.
#include <algorithm>
#include <boost/phoenix.hpp>
#include <vector>

namespace phoenix = boost::phoenix;
using phoenix::arg_names::arg1;

int odd(const std::vector<int> &values) {
    int count = 0;
    std::for_each(values.begin(), values.end(), phoenix::if_(arg1 % 2 == 1)[++phoenix::ref(count)]);
    return count;
}
