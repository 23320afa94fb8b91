// A calculator in Spirit.Qi: deep expression templates over Proto, Fusion and Phoenix.
#include <boost/phoenix/operator.hpp>
#include <boost/spirit/include/phoenix.hpp>
#include <boost/spirit/include/qi.hpp>
#include <string>

namespace qi = boost::spirit::qi;

template <typename Iterator>
struct Calculator : qi::grammar<Iterator, int(), qi::space_type> {
    Calculator() : Calculator::base_type(expression) {
        using qi::_1;
        using qi::_val;
        expression = term[_val = _1] >> *(('+' >> term[_val += _1]) | ('-' >> term[_val -= _1]));
        term = factor[_val = _1] >> *(('*' >> factor[_val *= _1]) | ('/' >> factor[_val /= _1]));
        factor = qi::int_[_val = _1] | '(' >> expression[_val = _1] >> ')';
    }
    qi::rule<Iterator, int(), qi::space_type> expression, term, factor;
};

bool evaluate(const std::string &text, int &result) {
    auto first = text.begin();
    return qi::phrase_parse(first, text.end(), Calculator<std::string::const_iterator>(), qi::space, result) && first == text.end();
}
