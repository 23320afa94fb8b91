// Fusion's adapted structures and algorithms, with larger vectors than the preprocessed ones.
#define FUSION_MAX_VECTOR_SIZE 30
#define FUSION_MAX_MAP_SIZE 30
#include <boost/fusion/adapted.hpp>
#include <boost/fusion/algorithm.hpp>
#include <boost/fusion/container.hpp>
#include <boost/fusion/functional.hpp>
#include <boost/fusion/sequence.hpp>
#include <boost/fusion/view.hpp>
#include <string>

struct Employee {
    std::string name;
    int age;
    double salary;
};
BOOST_FUSION_ADAPT_STRUCT(Employee, (std::string, name)(int, age)(double, salary))

struct Sizes {
    template <typename T> int operator()(int total, const T &) const { return total + static_cast<int>(sizeof(T)); }
};

int size(const Employee &employee) { return boost::fusion::fold(employee, 0, Sizes()); }
