// A generator in Spirit.Karma.
#include <boost/fusion/include/std_pair.hpp>
#include <boost/spirit/include/karma.hpp>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

namespace karma = boost::spirit::karma;

std::string render(const std::vector<std::pair<int, double>> &pairs) {
    std::string output;
    karma::generate(std::back_inserter(output), '[' << (karma::int_ << ':' << karma::double_) % ", " << ']', pairs);
    return output;
}
