// A list parser in Spirit X3.
#include <boost/spirit/home/x3.hpp>
#include <string>
#include <vector>

namespace x3 = boost::spirit::x3;

bool parse_list(const std::string &text, std::vector<double> &values) {
    auto first = text.begin();
    return x3::phrase_parse(first, text.end(), x3::double_ % ',', x3::space, values) && first == text.end();
}
